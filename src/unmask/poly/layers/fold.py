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
    if isinstance(model.embedding, nn.Embedding):
        embedding = None  # the client looks tokens up
    else:
        gain = torch.ones(form.inputs).double() if scale is None else scale.double()
        offset = torch.zeros(form.inputs).double() if shift is None else -shift.double() * gain
        embedding = _linear(model.embedding, (gain, offset))
    return Network(
        embedding=embedding,
        position=_array(model.place),
        blocks=tuple(_block(block, form.tokens, form.placement, _mask(model)) for block in _blocks(model)),
        head=_linear(model.head, _affine(model.norm)),
        pooling=form.pooling,
        kind=form.kind,
        classes=classes,
        meta=meta or {},
    )


def _blocks(model: Transformer) -> list[TorchBlock]:
    return [block for block in model.blocks if isinstance(block, TorchBlock)]


def _mask(model: Transformer) -> Tensor | None:
    return model.mask if isinstance(model.mask, Tensor) else None


def _block(block: TorchBlock, tokens: int, placement: str, mask: Tensor | None) -> Block:
    attention, feed = block.attention, block.feed_forward
    before, after = PLACEMENTS[placement]
    factor = tokens**-after
    heads = attention.heads
    norm = attention.weights.norm
    ones, zeros = torch.ones(heads).double(), torch.zeros(heads).double()
    scale, shift = (ones, zeros) if norm is None else norm.affine()
    width = attention.query.out_features // heads
    value = _linear(attention.value, _affine(block.norm1))
    if mask is None:  # a public constant: in the value map it costs nothing
        value = Affine(weight=value.weight * factor, bias=value.bias * factor)
    assert attention.weights.activation is not None
    plain = Attention(
        query=_linear(attention.query, _affine(block.norm1)),
        key=_linear(attention.key, _affine(block.norm1)),
        value=value,
        output=_linear(attention.output),
        heads=heads,
        scale=_array(scale * width**-0.5 * tokens**-before),
        shift=_array(shift),
        activation=attention.weights.activation.polynomial(),
        mask=None if mask is None else _array(mask) * factor,
    )
    rise = _linear(feed.rise, _affine(block.norm2))
    if feed.norm is not None:
        gain, offset = (_array(part) for part in feed.norm.affine())
        rise = Affine(weight=rise.weight * gain[:, None], bias=rise.bias * gain + offset)
    fed = FeedForward(rise=rise, fall=_linear(feed.fall), activation=feed.activation.polynomial())
    return Block(attention=plain, feed_forward=fed)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(norm, BatchNorm)
    return norm.affine()


def _linear(linear: nn.Module, before: tuple[Tensor, Tensor] | None = None) -> Affine:
    # W (s x + t) + b = (W diag s) x + (W t + b)
    assert isinstance(linear, nn.Linear)
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    if before is not None:
        scale, shift = before
        weight, bias = weight * scale, bias + weight @ shift
    return Affine(weight=_array(weight), bias=_array(bias))


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()
