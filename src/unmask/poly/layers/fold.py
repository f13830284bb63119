"""Torch transformer to plain network: norms over the batch and constants disappear into the weights."""

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.layers.attention import PLACEMENTS
from unmask.poly.layers.norm import BatchNorm
from unmask.poly.layers.transformer import Block as TorchBlock
from unmask.poly.layers.transformer import Transformer
from unmask.poly.network import Affine, Attention, Block, FeedForward, Network
from unmask.poly.polynomial import Array

WAY_OUT = "use attention='scaled' and norm='batch'"
Coordinates = tuple[Tensor, Tensor]
"""(scale, shift): x = scale * z + shift."""


def fold(
    model: Transformer,
    *,
    classes: tuple[str, ...] = (),
    meta: dict[str, object] | None = None,
    shift: Tensor | None = None,
    scale: Tensor | None = None,
) -> Network:
    """Return the network in NumPy that computes what the model computes in evaluation.

    Args:
        model: every activation is a polynomial, norms are over the batch, attention is scaled and pointwise.
        classes: what the logits stand for.
        meta: what was measured of it.
        shift: (inputs,), taken off the client's numbers before the first map; None for nothing.
        scale: (inputs,), by which they are then multiplied.

    Raises:
        BadInput: if a part has no plain form, naming it.

    Example:
        >>> fold(model).forward(x)  # doctest: +SKIP
    """
    form = model.form
    if form.norm != "batch":
        raise BadInput("norm", form.norm, "does not fold into the weights", WAY_OUT)
    if form.attention != "scaled":
        raise BadInput("attention", form.attention, "has no plain form", WAY_OUT)
    if not isinstance(model.embedding, nn.Linear):
        embedding = None  # the client looks embeddings up
    else:
        gain = torch.ones(form.inputs).double() if scale is None else scale.double()
        offset = torch.zeros(form.inputs).double() if shift is None else -shift.double() * gain
        embedding = _linear(model.embedding, (gain, offset))
    blocks, last = _folded(model)
    return Network(
        embedding=embedding,
        position=_array(model.place),
        blocks=blocks,
        head=_linear(model.head, last),
        pooling=form.pooling,
        kind=form.kind,
        classes=classes,
        meta=meta or {},
    )


def _folded(model: Transformer) -> tuple[tuple[Block, ...], Coordinates]:
    # With norms after the sums the stream itself is scaled. A norm of fixed numbers is diagonal, so the plain
    # network carries z, where the stream is x = scale * z + shift: x + y becomes z + y / scale, and a norm only
    # changes scale and shift.
    blocks = []
    stream = _identity(model.form.width)
    for block in model.blocks:
        assert isinstance(block, TorchBlock)
        first, second = _affine(block.norm1), _affine(block.norm2)
        if block.post:
            attention = _attention(block, model, stream, stream[0])
            stream = _after(stream, first)
            blocks.append(Block(attention=attention, feed_forward=_feed_forward(block, stream, stream[0])))
            stream = _after(stream, second)
        else:
            attention = _attention(block, model, first, stream[0])
            blocks.append(Block(attention=attention, feed_forward=_feed_forward(block, second, stream[0])))
    return tuple(blocks), stream if model.form.order == "post" else _affine(model.norm)


def _attention(block: TorchBlock, model: Transformer, before: Coordinates, stream: Tensor) -> Attention:
    attention, tokens = block.attention, model.form.tokens
    mask = model.mask if isinstance(model.mask, Tensor) else None
    first, second = PLACEMENTS[model.form.placement]
    factor = tokens**-second
    norm = attention.weights.norm
    scale, shift = _identity(attention.heads) if norm is None else norm.affine()
    width = attention.query.out_features // attention.heads
    value = _linear(attention.value, before)
    if mask is None:  # a public constant: in the value map it costs nothing
        value = Affine(weight=value.weight * factor, bias=value.bias * factor)
    assert attention.weights.activation is not None
    return Attention(
        query=_linear(attention.query, before),
        key=_linear(attention.key, before),
        value=value,
        output=_divided(_linear(attention.output), stream),
        heads=attention.heads,
        scale=_array(scale * width**-0.5 * tokens**-first),
        shift=_array(shift),
        activation=attention.weights.activation.polynomial(),
        mask=None if mask is None else _array(mask) * factor,
    )


def _feed_forward(block: TorchBlock, before: Coordinates, stream: Tensor) -> FeedForward:
    feed = block.feed_forward
    rise = _linear(feed.rise, before)
    if feed.norm is not None:
        gain, offset = (_array(part) for part in feed.norm.affine())
        rise = Affine(weight=rise.weight * gain[:, None], bias=rise.bias * gain + offset)
    return FeedForward(rise=rise, fall=_divided(_linear(feed.fall), stream), activation=feed.activation.polynomial())


def _after(stream: Coordinates, norm: Coordinates) -> Coordinates:
    return norm[0] * stream[0], norm[0] * stream[1] + norm[1]


def _divided(affine: Affine, by: Tensor) -> Affine:
    parts = _array(by)
    return Affine(weight=affine.weight / parts[:, None], bias=affine.bias / parts)


def _identity(count: int) -> Coordinates:
    return torch.ones(count).double(), torch.zeros(count).double()


def _affine(norm: nn.Module) -> Coordinates:
    assert isinstance(norm, BatchNorm)
    return norm.affine()


def _linear(linear: nn.Module, before: Coordinates | None = None) -> Affine:
    # W (s x + t) + b = (W diag s) x + (W t + b)
    assert isinstance(linear, nn.Linear)
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    if before is not None:
        scale, shift = before
        weight, bias = weight * scale, bias + weight @ shift
    return Affine(weight=_array(weight), bias=_array(bias))


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()
