"""Images from files: what is read is what was written, and what cannot be read says so."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unmask.errors import BadInput
from unmask.victims import images
from unmask.vision import Images

DRAW = np.random.default_rng(0)


def colours(count: int, side: int = 8) -> np.ndarray:
    """Return random bytes (count, side, side, 3)."""
    return DRAW.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Return a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_the_sample_ships_with_its_labels() -> None:
    found = images.sample()
    assert found.pixels.shape == (64, 1, 28, 28)
    assert float(found.pixels.max()) == 1
    assert set(found.labels.tolist()) == set(range(10))


def test_idx_files_are_read_with_the_labels_beside_them(tmp_path: Path) -> None:
    pixels, labels = colours(5)[..., 0], np.arange(5, dtype=np.uint8)
    body = struct.pack(">4i", 2051, 5, 8, 8) + pixels.tobytes()
    (tmp_path / "x-images-idx3-ubyte.gz").write_bytes(gzip.compress(body))
    (tmp_path / "x-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">2i", 2049, 5) + labels.tobytes()))
    found = images.load(tmp_path / "x-images-idx3-ubyte.gz")
    for image, label in zip(found.pixels, found.labels, strict=True):
        assert np.array_equal((image[0] * 255).round().numpy(), pixels[label])
    few = images.load(tmp_path / "x-images-idx3-ubyte.gz", 2)
    assert torch.equal(few.pixels, found.pixels[:2])
    (tmp_path / "y-images-idx3-ubyte").write_bytes(body[:-1])
    with pytest.raises(BadInput, match="no whole idx file"):
        images.load(tmp_path / "y-images-idx3-ubyte")


def test_parquet_of_the_hub_is_read(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pixels = colours(4)
    cells = [{"bytes": png(row), "path": None} for row in pixels]
    pq.write_table(pa.table({"img": cells, "label": [3, 1, 2, 0]}), tmp_path / "train.parquet")
    found = images.load(tmp_path)
    order = [[3, 1, 2, 0].index(label) for label in found.labels.tolist()]
    assert np.array_equal((found.pixels * 255).round().numpy(), pixels[order].transpose(0, 3, 1, 2))
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(BadInput, match="no column 'img'"):
        images.load(tmp_path)


def test_folders_of_classes_give_labels(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(2):
            (tmp_path / name / f"{index}.png").write_bytes(png(colours(1)[0]))
    found = images.load(tmp_path)
    assert found.pixels.shape == (4, 3, 8, 8)
    assert sorted(found.labels.tolist()) == [0, 0, 1, 1]
    assert images.load(tmp_path / "cat" / "0.png").labels is None


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a file nor a folder"):
        images.load(tmp_path / "none")
    with pytest.raises(BadInput, match="holds no picture"):
        images.load(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match="is no picture"):
        images.load(tmp_path)
    (tmp_path / "a.png").write_bytes(png(colours(1, 8)[0]))
    (tmp_path / "b.png").write_bytes(png(colours(1, 9)[0]))
    with pytest.raises(BadInput, match="images of one size"):
        images.load(tmp_path)


def test_images_are_fitted_to_a_model() -> None:
    grey = Images(pixels=torch.rand(2, 1, 28, 28))
    framed = images.fit(grey, (3, 32, 32)).pixels
    assert framed.shape == (2, 3, 32, 32)
    assert torch.equal(framed[:, 1, 2:30, 2:30], grey.pixels[:, 0])
    assert float(framed[:, :, :2].abs().max()) == 0
    scaled = images.fit(Images(pixels=torch.full((1, 3, 64, 48), 0.5)), (1, 16, 16)).pixels
    assert torch.allclose(scaled, torch.full((1, 1, 16, 16), 0.5), atol=1e-3)
    with pytest.raises(BadInput, match="has 4 channels"):
        images.fit(Images(pixels=torch.rand(1, 4, 8, 8)), (3, 8, 8))
