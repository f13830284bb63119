"""Tiny random vision transformers, this project's and the library's."""

from functools import cache

import torch
from transformers import ViTConfig, ViTForImageClassification

from unmask.auditor.images import ImageSubject, smooth
from unmask.rng import generator
from unmask.victims import hf, torch_vision
from unmask.victims.torch_vision import TorchVision
from unmask.victims.vit import VitShape, fresh
from unmask.vision import Images

TINY = VitShape(side=8, patch=4, width=32, layers=2, heads=2, hidden=48, classes=3)


@cache
def plain() -> TorchVision:
    """Return a random model of two layers for grey images of 8 x 8 pixels; shared, because nothing changes it."""
    return torch_vision.plain(fresh(TINY, generator(0, "tiny")), name="tiny-vit")


@cache
def library() -> TorchVision:
    """Return a random model of the library for colour images of 8 x 8 pixels."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=8,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        num_labels=3,
        initializer_range=0.2,
        attn_implementation="eager",
    )
    return hf.wrap_vision(ViTForImageClassification(config).eval(), name="tiny-library")


def secret(model: TorchVision, index: int = 0) -> Images:
    """Return one smooth image of the model's form."""
    return Images(pixels=smooth(1, model.shape, generator(7, index)), labels=torch.tensor([0]))


def subject(model: TorchVision) -> ImageSubject:
    """Return what is audited."""
    return ImageSubject(model=model, tensors=model.weights())
