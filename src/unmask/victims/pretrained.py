"""Pretrained models as the start of a conversion that keeps their own forward, soft-max included in a power form."""

import copy
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn

from unmask.poly.conversion.intercept import Call
from unmask.victims.hf import Loaded
from unmask.victims.torch_model import TorchModel
from unmask.victims.torch_vision import TorchVision


@dataclass(frozen=True, kw_only=True, eq=False)
class Pretrained:
    """A model, how stored inputs go through it, and what of it the client computes.

    Args:
        module: as its author wrote it.
        call: from the module and stored inputs to logits.
        client: module path of what the client computes in clear; None if it encrypts the inputs themselves.
    """

    module: nn.Module
    call: Call
    client: str | None = field(default=None)


def sentences(loaded: Loaded) -> Pretrained:
    """Return a language model or a classifier of sentences.

    Stored inputs are token numbers (B, n); padding is masked. The client looks the tokens up and adds their places,
    with the norm after them where the module has one of both, encrypts them, and encrypts the mask.

    Args:
        loaded: the model with its tokenizer.
    """
    model = loaded.model
    pad = model.vocabulary.pad or 0
    causal = model.classes is None
    frozen = model.module.get_submodule(embedding(model))
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)  # the client's table stays as published

    def call(module: nn.Module, ids: Tensor) -> Tensor:
        mask = None if causal else (ids != pad).long()
        return model.forward(module, ids, mask, None)

    return Pretrained(module=model.module, call=call, client=embedding(model))


def embedding(model: TorchModel) -> str:
    """Return the module path of what the client computes: the module called `embeddings`, else the table of tokens.

    Args:
        model: a public model of text.
    """
    parent = model.token_embedding.rpartition(".")[0]
    return parent if parent.rpartition(".")[2] == "embeddings" else model.token_embedding


def pictures(model: TorchVision) -> Pretrained:
    """Return a classifier of images (B, channels, height, width) in [0, 1], whose pixels the client encrypts.

    Args:
        model: a vision transformer.
    """

    def call(module: nn.Module, pixels: Tensor) -> Tensor:
        found = model.call(module, pixels)
        return found if isinstance(found, Tensor) else cast(Tensor, cast(Any, found).logits)

    return Pretrained(module=copy.deepcopy(model.module).requires_grad_(True), call=call)
