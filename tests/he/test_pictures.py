import numpy as np
import pytest
import torch
from PIL import Image

from unmask.errors import BadInput
from unmask.he.pictures import Cut
from unmask.poly import demo
from unmask.victims import vit


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_cut_as_in_training(channels):
    pixels = np.random.default_rng(0).random((channels, 12, 12))
    cut = Cut.of(9, channels * 16, 4)
    assert cut == Cut(side=12, patch=4, channels=channels)
    slow = vit.patches(torch.from_numpy(pixels)[None], 4)[0].numpy()
    assert np.array_equal(cut.patches(pixels), slow)


def test_a_picture_of_the_right_size_keeps_its_pixels(tmp_path):
    grey = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    patches = Cut.of(16, 49, 7).read(tmp_path / "a.png")
    assert np.allclose(patches[0].reshape(7, 7), grey[:7, :7] / 255)
    assert np.allclose(patches[5].reshape(7, 7), grey[7:14, 7:14] / 255)


def test_an_enlarged_picture_is_the_same(tmp_path):
    grey = np.random.default_rng(2).integers(0, 256, (28, 28), dtype=np.uint8)
    cut = Cut.of(16, 49, 7)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey.repeat(3, 0).repeat(3, 1)).convert("RGB").save(tmp_path / "b.png")
    assert np.allclose(cut.read(tmp_path / "a.png"), cut.read(tmp_path / "b.png"), atol=1 / 255)


def test_the_bundled_network_takes_pictures():
    network = demo.network()
    assert Cut.of(network.tokens, network.inputs, network.meta["patch"]) == Cut(side=28, patch=7, channels=1)


@pytest.mark.parametrize("shape", [(15, 49, 7), (16, 50, 7), (16, 49, None), (16, 98, 7)])
def test_other_networks_take_none(shape):
    assert Cut.of(*shape) is None


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(BadInput, match="no picture"):
        Cut.of(16, 49, 7).read(tmp_path / "a.png")
