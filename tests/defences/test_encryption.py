from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.defences.encrypted_activations import EncryptedActivations, numbers, shown
from unmask.defences.encryption import Encryption
from unmask.errors import BadInput
from unmask.he import environment
from unmask.he.parameters import Parameters
from unmask.poly import demo
from unmask.rng import generator
from unmask.surface import Release, Scenario
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.victims import images, polynomial_vision
from unmask.victims.vit import patches
from unmask.vision import Images, ImageVictim

real = pytest.mark.skipif(environment.find() is None, reason="no environment for OpenFHE: run unmask he setup")


def victim() -> ImageVictim:
    model = polynomial_vision.load(Path(demo.NAME))
    return ImageVictim(model=model, secret=Images(pixels=images.sample().pixels[:1]))


def test_the_torch_form_of_a_network_is_the_plain_one() -> None:
    network = demo.network()
    pixels = images.sample().pixels[:3].double()
    module = polynomial_vision.PolynomialVit(network, 7).double()
    exact = network.forward(patches(pixels, 7).numpy())
    assert np.abs(module(pixels).detach().numpy() - exact).max() < 1e-9
    seen = dict(network.steps(patches(pixels, 7).numpy()))
    model = polynomial_vision.wrapped(network, name="x")
    for site in (s for s in model.sites if s.name in ("0.block", "1.hidden", "1.value")):
        name = {"0.block": "0.attention.output", "1.hidden": "1.feed_forward.residual", "1.value": "1.attention.value"}
        found = model.activations(pixels, [site])[site.name]
        assert np.abs(found.detach().numpy() - seen[name[site.name]]).max() < 1e-4  # weights rounded to float32


def test_networks_that_read_no_tiles_of_an_image_are_refused() -> None:
    network = demo.network()
    for field, value in (("kind", "text"), ("embedding", None), ("position", network.position[:15])):
        changed = type(network)(**{**vars(network), field: value})
        with pytest.raises(BadInput):
            polynomial_vision.wrapped(changed, name="x")


def test_words_become_numbers_of_variance_one() -> None:
    words = np.random.default_rng(0).integers(0, 2**63, 5000, dtype=np.uint64)
    found = numbers(b"head" + words.tobytes() + bytes(64), 4000)
    assert abs(found.mean()) < 0.1 and abs(found.std() - 1) < 0.05
    with pytest.raises(BadInput, match="too short"):
        numbers(words[:20].tobytes(), 400)


class Plain:
    """A key holder that encrypts nothing: what it is given stands in its bytes."""

    parameters = Parameters(ring=14, levels=4)

    def encrypt(self, values: np.ndarray, level: int | None = None) -> bytes:
        return (values * 2.0**31).astype("<u8").tobytes() + bytes(64)

    def decrypt(self, ciphertext: bytes) -> np.ndarray:
        return np.frombuffer(ciphertext[:-64], "<u8") / 2.0**31


def test_the_reading_would_show_what_is_not_encrypted() -> None:
    # Otherwise a low score behind encryption would prove nothing.
    tensor = torch.rand(3, 40, generator=generator(0, "x"))
    found = shown(Plain(), tensor)
    assert found.shape == tensor.shape
    assert float(torch.corrcoef(torch.stack([found.flatten(), tensor.flatten()]))[0, 1]) > 0.999


@real
def test_a_ciphertext_is_seen_in_place_of_the_activation() -> None:
    who, base = victim(), ImageActivationSurface(select="0.block")
    defended = Encryption().protect(Scenario(victim=None, surface=base)).surface
    clear, first, second = (each.observe(who, generator(0, "seen")) for each in (base, defended, defended))
    tensor, one, two = (seen.tensors["0.block"].flatten().double() for seen in (clear, first, second))
    assert first.tensors["0.block"].shape == clear.tensors["0.block"].shape
    table = torch.corrcoef(torch.stack([tensor, one, two]))
    assert float((table - torch.eye(3)).abs().max()) < 0.15  # 1024 numbers: three deviations are 0.1
    assert "ciphertext" in first.knowledge.mechanism


def test_what_encryption_promises_and_refuses() -> None:
    scenario = Scenario(victim=None, surface=ImageActivationSurface(select="0.block"))
    assert "128 bits" in str(Encryption().guarantee(scenario))
    with pytest.raises(BadInput, match="model of images"):
        Encryption().protect(Scenario(victim=None, surface=ActivationSurface()))
    with pytest.raises(BadInput, match="hides nothing"):
        EncryptedActivations(backend="simulator")
    with pytest.raises(BadInput, match="encrypt exact"):
        EncryptedActivations().with_release(Release(noise=0.1))
