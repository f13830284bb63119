"""Inputs from files, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from unmask.errors import BadInput
from unmask.he.inputs import read

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)


def cut(image):
    """Patches of 7x7, written out."""
    rows = [image[7 * r : 7 * r + 7, 7 * c : 7 * c + 7].reshape(-1) for r in range(4) for c in range(4)]
    return np.stack(rows) / 255


def test_images_of_every_kind_of_file_give_the_same_patches(tmp_path):
    expected = np.stack([cut(image) for image in PIXELS])
    np.save(tmp_path / "x.npy", PIXELS)
    np.savez(tmp_path / "x.npz", pixels=PIXELS)
    Image.fromarray(PIXELS[1]).save(tmp_path / "x.png")
    np.testing.assert_allclose(read(tmp_path / "x.npy", (16, 49)), expected, atol=1e-15)
    np.testing.assert_allclose(read(tmp_path / "x.npz", (16, 49), 2), expected[2:], atol=1e-15)
    np.testing.assert_allclose(read(tmp_path / "x.png", (16, 49)), expected[1:2], atol=1e-15)


def test_colours_of_a_patch_lie_one_after_the_other(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    expected = np.empty((2, 4, 48))
    for image, row, column, colour in np.ndindex(2, 2, 2, 3):
        patch = pixels[image, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4, colour]
        expected[image, 2 * row + column, 16 * colour : 16 * colour + 16] = patch.reshape(-1) / 255
    np.savez(tmp_path / "x.npz", pixels=pixels)
    np.save(tmp_path / "one.npy", pixels[0])
    Image.fromarray(pixels[1]).save(tmp_path / "x.png")
    np.testing.assert_allclose(read(tmp_path / "x.npz", (4, 48)), expected, atol=1e-15)
    np.testing.assert_allclose(read(tmp_path / "one.npy", (4, 48)), expected[:1], atol=1e-15)
    np.testing.assert_allclose(read(tmp_path / "x.png", (4, 48)), expected[1:], atol=1e-15)
    with pytest.raises(BadInput, match="give colour images of 16 x 16"):
        read(tmp_path / "x.npz", (16, 48))


def test_numbers_are_taken_as_they_are(tmp_path):
    values = np.random.default_rng(1).standard_normal((16, 49))
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(read(tmp_path / "x.npy", (16, 49)), values[None])


def test_what_is_no_input_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    np.save(tmp_path / "words.npy", np.array(["a"]))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    (tmp_path / "junk.png").write_bytes(b"junk")
    for name, shape, item in [
        ("x.npy", (16, 50), None),
        ("x.npy", (16, 36), None),
        ("x.npy", (28,), None),
        ("x.npy", (16, 49), 3),
        ("words.npy", (1,), None),
        ("junk.npy", (1,), None),
        ("junk.png", (1,), None),
        ("missing.npy", (1,), None),
    ]:
        with pytest.raises(BadInput, match=r"--data|--item"):
            read(tmp_path / name, shape, item)
