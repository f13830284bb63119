"""Vision transformers: their signals are what a forward pass by hand gives."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests import vit
from unmask.errors import BadInput
from unmask.site import Signal, Site
from unmask.victims import torch_vision, vision_models
from unmask.victims.images import fit, sample
from unmask.victims.torch_vision import TorchVision
from unmask.vision import VisionModel

MODELS = [vit.plain, vit.library]


@pytest.mark.parametrize("make", MODELS)
def test_every_signal_of_every_layer_is_found(make) -> None:
    model: TorchVision = make()
    assert isinstance(model, VisionModel)
    assert (model.layers, model.heads, model.classes) == (2, 2, 3)
    assert [site.name for site in model.sites] == [f"{layer}.{signal}" for layer in range(2) for signal in Signal]


@pytest.mark.parametrize("make", MODELS)
def test_tokens_stand_in_for_the_embedded_image(make) -> None:
    model = make()
    pixels = vit.secret(model).pixels
    sites = [site for site in model.sites if site.layer == 1]
    one, other = model.activations(pixels, sites), model.activations_from_tokens(model.embed(pixels), sites)
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=1e-6)


@pytest.mark.parametrize("make", MODELS)
def test_tokens_are_affine_in_the_pixels(make) -> None:
    model = make()
    a, b = vit.secret(model, 0).pixels.double(), vit.secret(model, 1).pixels.double()
    mixed = model.embed(0.3 * a + 0.7 * b)
    assert torch.allclose(mixed, 0.3 * model.embed(a) + 0.7 * model.embed(b), atol=1e-12)


def test_signals_are_those_of_a_forward_pass_by_hand() -> None:
    model = vit.plain()
    net, pixels = model.module, vit.secret(model).pixels
    block = net.blocks[0]
    x = net.embedding(pixels)
    z = F.layer_norm(x, (32,), block.norm1.weight, block.norm1.bias)
    q, k, v = (
        m(z).unflatten(-1, (2, 16)).transpose(1, 2)
        for m in (block.attention.query, block.attention.key, block.attention.value)
    )
    weights = torch.softmax(q @ k.transpose(-1, -2) / 4, -1)
    heads = (weights @ v).transpose(1, 2).flatten(2)
    out = block.attention.out_proj(heads)
    x = x + out
    hidden = x + block.mlp.fc2(F.gelu(block.mlp.fc1(F.layer_norm(x, (32,), block.norm2.weight, block.norm2.bias))))
    expected = {"heads": heads, "block": out, "probabilities": weights, "hidden": hidden}
    found = model.activations(pixels, [site for site in model.sites if site.layer == 0])
    for name, tensor in expected.items():
        assert torch.allclose(found[f"0.{name}"], tensor, atol=1e-6), name
    one = model.activations(pixels, [Site(layer=0, signal=Signal.HEADS, head=1)])
    assert torch.equal(one["0.heads.1"], found["0.heads"][..., 16:])


def test_it_computes_in_the_format_of_what_it_is_given() -> None:
    model = vit.plain()
    pixels, site = vit.secret(model).pixels, model.sites[1]
    single, double = (model.activations(p, [site])[site.name] for p in (pixels, pixels.double()))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.allclose(single.double(), double, atol=1e-5)


def test_gradients_flow_to_the_pixels() -> None:
    model = vit.plain()
    pixels = vit.secret(model).pixels.requires_grad_(True)
    model.activations(pixels, [model.sites[-1]])[model.sites[-1].name].square().sum().backward()
    assert pixels.grad is not None
    assert bool(pixels.grad.any())


def test_the_demo_is_a_trained_model_of_65_tokens() -> None:
    model, images = torch_vision.demo(), fit(sample(), (1, 32, 32))
    assert model.embed(images.pixels[:1]).shape == (1, 65, 64)
    right = (model.module(images.pixels).argmax(1) == images.labels).float().mean()
    assert right > 0.7


def test_files_of_other_kinds_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no file"):
        vision_models.find(str(tmp_path / "none.safetensors"))
    (tmp_path / "x.safetensors").write_bytes(b"no such thing")
    with pytest.raises(BadInput, match="holds no vision transformer"):
        vision_models.find(str(tmp_path / "x.safetensors"))
    with pytest.raises(BadInput, match="is no directory"):
        vision_models.find(str(tmp_path))


def test_a_directory_of_the_library_is_read_back(tmp_path: Path) -> None:
    model = vit.library()
    model.module.save_pretrained(tmp_path)
    assert vision_models.named(str(tmp_path))
    pixels = vit.secret(model).pixels
    site = model.sites[-1]
    again = vision_models.find(str(tmp_path)).activations(pixels, [site])[site.name]
    assert torch.allclose(model.activations(pixels, [site])[site.name], again, atol=1e-6)
