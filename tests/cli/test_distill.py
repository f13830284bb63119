"""`unmask distill` and `unmask delta`, from files to files."""

import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Run
from unmask.victims import images


def test_a_distilled_set_is_written_measured_and_read_again(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "few"
    save_file({"pixels": images.sample().pixels, "labels": images.sample().labels}, tmp_path / "test.safetensors")
    given = ("--count", 4, "--parity", "--steps", 25, "--test", tmp_path / "test.safetensors")
    code, stdout, _ = run("distill", "--out", out, *given, "--json")
    assert code == 0
    said = json.loads(stdout)
    assert said["guarantee"] == "none: empirical only" and said["images"] == 64
    assert said["accuracy_all"] > 0.95
    assert said["accuracy_distilled"] > 0.75
    found = images.load(out / "distilled.safetensors")
    assert found.pixels.shape == (4, 1, 28, 28)
    assert found.labels is not None and sorted(found.labels.tolist()) == [0, 0, 1, 1]
    with Image.open(out / "sheet.png") as picture:
        assert picture.size == (4 * 28 * 3 + 3 * 4, 28 * 3)


def test_classes_keep_their_number_and_colour_its_channels(run: Run, tmp_path: Path) -> None:
    noise = torch.Generator().manual_seed(0)
    pixels, labels = torch.rand(12, 3, 4, 4, generator=noise), torch.arange(12) % 3
    save_file({"pixels": pixels, "labels": labels}, tmp_path / "data.safetensors")
    out = tmp_path / "few"
    code, stdout, _ = run(
        "distill", "--data", tmp_path / "data.safetensors", "--out", out, "--count", 6, "--steps", 2, "--method", "rkip"
    )
    assert code == 0 and "none: empirical only" in stdout
    assert load_file(out / "distilled.safetensors")["wanted"].shape == (6, 3)
    with Image.open(out / "sheet.png") as picture:
        assert picture.mode == "RGB"


def test_what_cannot_be_distilled_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("distill", "--out", tmp_path, "--count", 64)
    assert code == 2 and "does not distil 64 images" in err
    save_file({"pixels": torch.rand(5, 1, 4, 4)}, tmp_path / "bare.safetensors")
    code, _, err = run("distill", "--data", tmp_path / "bare.safetensors", "--out", tmp_path)
    assert code == 2 and "have no labels" in err
    save_file({"other": torch.rand(5)}, tmp_path / "other.safetensors")
    code, _, err = run("distill", "--data", tmp_path / "other.safetensors", "--out", tmp_path)
    assert code == 2 and "not pixels" in err


def test_a_weight_change_becomes_a_gradient_file_that_an_audit_reads(run: Run, models: Path, tmp_path: Path) -> None:
    start = load_file(models / "bert" / "model.safetensors")
    table = "bert.embeddings.word_embeddings.weight"
    moved = start[table].clone()
    moved[[7, 9]] += 0.1
    save_file({**start, table: moved}, tmp_path / "after.safetensors")
    out = tmp_path / "delta.safetensors"
    model = ("--model", models / "bert")
    code, stdout, err = run("delta", *model, "--after", tmp_path / "after.safetensors", "--out", out)
    assert code == 0 and str(out) in stdout and "1 tensors moved" in err
    given = (*model, "--gradients", out, "--attack", "bag", "--no-baseline", "--show-private")
    code, _, err = run("audit", *given, "--out", tmp_path / "run")
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "records.jsonl").read_text().splitlines()[0])
    assert "non-zero rows" in record["reason"]


def test_equal_pickled_and_other_weights_are_refused(run: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "delta.safetensors"
    model = ("--model", models / "bert", "--out", out)
    code, _, err = run("delta", *model, "--after", models / "bert")
    assert code == 2 and "equal those before training" in err
    code, _, err = run("delta", *model, "--after", tmp_path / "model.pt")
    assert code == 2 and "pickled checkpoint" in err
    code, _, err = run("delta", *model, "--after", models / "gpt2")
    assert code == 2 and "another model" in err
    assert not out.exists()
