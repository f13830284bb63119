"""Trained models as the start of a conversion: their weights in a transformer that can become polynomial."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.conversion.training import Teacher
from unmask.poly.layers.transformer import Block, Form, Transformer
from unmask.victims.vit import Vit, patches

KNOWN = frozenset(
    "Linear LayerNorm Embedding Dropout Identity GELU GELUActivation ReLU SiLU SiLUActivation Tanh".split()
)
"""Leaf modules that conversion keeps, replaces, or (a pooler's Tanh) leaves out with a new head."""

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu", "relu": "relu", "silu": "silu", "swish": "silu"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """What a conversion starts from.

    Args:
        model: batch norms and pointwise attention, with the original's maps.
        teacher: the original, from stored inputs to logits.
        prepare: from stored inputs to what `model` takes; it stays with the client.
    """

    model: Transformer
    teacher: Teacher
    prepare: Callable[[Tensor], Tensor]


def from_vit(module: Vit, draw: torch.Generator) -> Original:
    """Return the start of the conversion of a plain vision transformer.

    Args:
        module: takes images (B, channels, side, side) in [0, 1]; its class token becomes a token of zeros.
        draw: draws what has no counterpart.
    """
    shape, embedding = module.shape, module.embedding
    form = Form(
        kind="image",
        inputs=shape.channels * shape.patch**2,
        tokens=shape.tokens,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        hidden=shape.hidden,
        classes=shape.classes,
        pooling="first",
    )
    model = Transformer(form, draw)
    names = "norm1 attention.query attention.key attention.value attention.out_proj norm2 mlp.fc1 mlp.fc2".split()
    with torch.no_grad():
        _copy(model.embedding, embedding.projection)
        model.place.copy_(embedding.place[0])
        model.place[0] += embedding.first[0, 0] - embedding.projection.bias
        for block, source in zip(model.blocks, module.blocks, strict=True):
            _fill(cast(Block, block), source, names)
        _copy(model.norm, module.norm)
        _copy(model.head, module.head)
    mean, deviation = cast(Tensor, embedding.mean), cast(Tensor, embedding.deviation)

    def prepare(pixels: Tensor) -> Tensor:
        tiles = patches((pixels - mean) / deviation, shape.patch)
        return torch.cat([torch.zeros_like(tiles[:, :1]), tiles], 1)

    module.eval()
    return Original(model=model, teacher=lambda pixels: module(pixels), prepare=prepare)


def from_bert(module: nn.Module, *, tokens: int, classes: int, pad: int, draw: torch.Generator) -> Original:
    """Return the start of the conversion of a classifier of sentences of the BERT type.

    The client looks the embeddings up, with places and their norm; padding is a token like others, so that
    nobody learns the length. The pooler is left out: the new head sees the mean of the tokens.

    Args:
        module: has `encoder.layer.0.attention.self.query` and so on, takes `input_ids` and `attention_mask`.
        tokens: length that sentences are padded to.
        classes: number of logits.
        pad: number of the padding token.
        draw: draws the head.

    Raises:
        BadInput: if an operator is unknown, naming its path, or no such encoder is found.
    """
    refuse_unknown(module)
    mark = "encoder.layer.0.attention.self.query"
    path = next((name for name, _ in module.named_modules() if name.endswith(mark)), None)
    if path is None:
        rule = "has no encoder.layer.0.attention.self.query"
        raise BadInput("model", type(module).__name__, rule, "give a classifier of the BERT type")
    prefix = path.removesuffix(mark)
    layers = cast(nn.ModuleList, module.get_submodule(f"{prefix}encoder.layer"))
    hidden = cast(nn.Linear, module.get_submodule(f"{prefix}encoder.layer.0.intermediate.dense"))
    config = getattr(module, "config", None)
    name = str(getattr(config, "hidden_act", "gelu"))
    if name not in ACTIVATIONS:
        where = f"{prefix}encoder.layer.0.intermediate"
        raise BadInput("model", name, f"at {where} has no polynomial form", f"use one of {', '.join(ACTIVATIONS)}")
    form = Form(
        kind="text",
        inputs=hidden.in_features,
        tokens=tokens,
        width=hidden.in_features,
        layers=len(layers),
        heads=int(getattr(config, "num_attention_heads", 1)),
        hidden=hidden.out_features,
        classes=classes,
        activation=ACTIVATIONS[name],
        order="post",
    )
    model = Transformer(form, draw)
    model.embedding = nn.Identity()
    parts = "attention.output.LayerNorm attention.self.query attention.self.key attention.self.value"
    parts += " attention.output.dense output.LayerNorm intermediate.dense output.dense"
    with torch.no_grad():
        model.place.zero_()
        for block, source in zip(model.blocks, layers, strict=True):
            _fill(cast(Block, block), source, parts.split())
    embeddings = module.get_submodule(f"{prefix}embeddings")
    module.eval()

    def teacher(ids: Tensor) -> Tensor:
        return cast(Tensor, module(input_ids=ids, attention_mask=(ids != pad).long()).logits)

    @torch.no_grad()
    def prepare(ids: Tensor) -> Tensor:
        return cast(Tensor, embeddings(input_ids=ids))

    return Original(model=model, teacher=teacher, prepare=prepare)


def refuse_unknown(module: nn.Module) -> None:
    """Refuse a module with an operator that has no polynomial form here.

    Args:
        module: whose leaves are looked at.

    Raises:
        BadInput: naming the first such operator by its module path.
    """
    for path, child in module.named_modules():
        leaf = not any(True for _ in child.children())
        own = any(True for _ in child.parameters(recurse=False)) or type(child).__module__.startswith("torch.nn")
        if leaf and own and type(child).__name__ not in KNOWN:
            rule = f"at {path or 'the top'} has no polynomial form"
            raise BadInput("model", type(child).__name__, rule, f"replace it by one of {', '.join(sorted(KNOWN))}")


def _fill(block: Block, source: nn.Module, names: list[str]) -> None:
    attention, feed = block.attention, block.feed_forward
    targets = [block.norm1, attention.query, attention.key, attention.value, attention.output, block.norm2]
    for target, name in zip([*targets, feed.rise, feed.fall], names, strict=True):
        _copy(target, source.get_submodule(name))


def _copy(target: nn.Module, source: nn.Module) -> None:
    for name in ("weight", "bias"):
        getattr(target, name).copy_(getattr(source, name))
