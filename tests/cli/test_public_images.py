"""Public pictures on the command line: part of the threat model, and only of models of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of five grey pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(5):
        levels = np.full((28, 28), 40 * index, dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{index}.png")
    return folder


def test_public_images_are_a_sentence_of_the_threat_model(run: Run, pictures: Path) -> None:
    arguments = ["audit", "--model", "vit-demo", "--surface", "attention", "--select", "3.block", "--dry-run"]
    assert "public pictures" not in run(*arguments)[1]
    code, out, err = run(*arguments, "--public-images", pictures)
    assert (code, err) == (0, "")
    assert "holds 5 public pictures" in " ".join(out.split())


def test_public_images_go_with_images(run: Run, pictures: Path, texts: Path) -> None:
    code, _, err = run("audit", "--texts", texts, "--public-images", pictures)
    assert code == 2
    assert "--public-images" in err


def test_public_images_must_be_there(run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        "audit", "--model", "vit-demo", "--surface", "attention", "--public-images", tmp_path / "none", "--dry-run"
    )
    assert code == 2
    assert "--public-images" in err
