"""The plain form of a polynomial transformer: affine maps, products and polynomials, nothing else.

Every norm and constant is folded into the weights, so that this is what an encrypted circuit computes.
NumPy in float64: the reference that every faster or encrypted path is compared with.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from unmask.errors import BadInput
from unmask.poly.polynomial import Array, Polynomial

Pooling = Literal["mean", "first", "last", "all"]
Kind = Literal["image", "text", "decoder"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """y = x W^T + b.

    Args:
        weight: (out, in).
        bias: (out,).
    """

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            rule = f"does not fit the bias of shape {self.bias.shape}"
            raise BadInput("weight", self.weight.shape, rule, "give (out, in) and (out,)")

    def __call__(self, x: Array) -> Array:
        """Return (..., out) of (..., in)."""
        return x @ self.weight.T + self.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """Pointwise attention: P_h = mask * p(s_h Q_h K_h^T + t_h), y = concat_h(P_h V_h) Wo^T + bo.

    Args:
        query: (d, d); the norm before the attention is folded into it, as into key and value.
        key: (d, d).
        value: (d, d).
        output: (d, d); takes the heads side by side.
        heads: how many; the width of one is d / heads.
        scale: (heads,), s_h, with 1 / sqrt(d_h) and any norm over the scores in it.
        shift: (heads,), t_h.
        activation: p, on each score by itself.
        mask: (n, n) of factors on the activated scores, such as 1 / L where a position may look and 0 elsewhere;
            None if every factor is one.
    """

    query: Affine
    key: Affine
    value: Affine
    output: Affine
    heads: int
    scale: Array
    shift: Array
    activation: Polynomial
    mask: Array | None = field(default=None)

    def __post_init__(self) -> None:
        if len(self.query.bias) % self.heads or len(self.scale) != self.heads or len(self.shift) != self.heads:
            rule = f"does not divide the width {len(self.query.bias)}, or scale and shift have other lengths"
            raise BadInput("heads", self.heads, rule, "give one scale and one shift a head")

    def steps(self, x: Array) -> Iterator[tuple[str, Array]]:
        """Yield query, key, value, scores (before the polynomial), weights, mixed and output by name.

        Args:
            x: (batch, n, d).
        """
        split = (*x.shape[:-1], self.heads, -1)
        names = ("query", "key", "value")
        parts = [part(x) for part in (self.query, self.key, self.value)]
        yield from zip(names, parts, strict=True)
        Q, K, V = (np.moveaxis(part.reshape(split), -2, -3) for part in parts)  # (batch, heads, n, d_h)
        wide = (slice(None), None, None)
        scores = self.scale[wide] * (Q @ np.swapaxes(K, -1, -2)) + self.shift[wide]
        yield "scores", scores
        weights = self.activation(scores)
        weights = weights if self.mask is None else weights * self.mask
        yield "weights", weights
        mixed = np.moveaxis(weights @ V, -3, -2).reshape(*x.shape[:-1], -1)
        yield "mixed", mixed
        yield "output", self.output(mixed)


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedForward:
    """y = fall(p(rise(x))).

    Args:
        rise: (hidden, d); the norm before it is folded in.
        fall: (d, hidden); a norm after the activation is folded in.
        activation: p, on each hidden unit by itself.
    """

    rise: Affine
    fall: Affine
    activation: Polynomial

    def steps(self, x: Array) -> Iterator[tuple[str, Array]]:
        """Yield rise (before the polynomial), activated and output by name."""
        risen = self.rise(x)
        yield "rise", risen
        activated = self.activation(risen)
        yield "activated", activated
        yield "output", self.fall(activated)


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """x + attention(x), then x + feed_forward(x)."""

    attention: Attention
    feed_forward: FeedForward


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A transformer that is a polynomial of its input.

    Args:
        embedding: (d, inputs), from what the client holds of a token to its representation; None if that is it.
        position: (n, d), added to every input.
        blocks: the layers.
        head: (classes, d), with the last norm folded in.
        pooling: which tokens the head sees: their mean, the first, the last, or each by itself.
        kind: `image` (inputs are the pixels of a patch), `text` (embeddings, looked up by the client) or `decoder`.
        classes: what the logits stand for; may be empty.
        meta: what was measured of it, such as accuracy, for people.
    """

    embedding: Affine | None
    position: Array
    blocks: tuple[Block, ...]
    head: Affine
    pooling: Pooling = field(default="mean")
    kind: Kind = field(default="image")
    classes: tuple[str, ...] = field(default=())
    meta: dict[str, object] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """n, how many tokens one input has."""
        return int(self.position.shape[0])

    @property
    def width(self) -> int:
        """d, the width of a representation."""
        return int(self.position.shape[1])

    @property
    def inputs(self) -> int:
        """How many numbers the client gives for one token."""
        return self.width if self.embedding is None else int(self.embedding.weight.shape[1])

    def steps(self, x: Array) -> Iterator[tuple[str, Array]]:
        """Yield every intermediate with its name, such as `0.attention.scores`; the last one is `logits`.

        Args:
            x: (batch, n, inputs).

        Raises:
            BadInput: if x has another shape.
        """
        if x.ndim != 3 or x.shape[1:] != (self.tokens, self.inputs):
            raise BadInput("x", x.shape, "has another shape", f"give (batch, {self.tokens}, {self.inputs})")
        x = self.position + (x if self.embedding is None else self.embedding(x))
        yield "embedding", x
        for index, block in enumerate(self.blocks):
            for room, part in (("attention", block.attention), ("feed_forward", block.feed_forward)):
                last = x
                for name, last in part.steps(x):
                    yield f"{index}.{room}.{name}", last
                x = x + last
                yield f"{index}.{room}.residual", x
        yield "pooled", (pooled := _pool(x, self.pooling))
        yield "logits", self.head(pooled)

    def forward(self, x: Array) -> Array:
        """Return the logits: (batch, classes), or (batch, n, classes) if each token has its own."""
        return deque(self.steps(x), maxlen=1)[0][1]

    def trace(self, x: Array) -> dict[str, Array]:
        """Return every intermediate by name."""
        return dict(self.steps(x))

    def polynomials(self) -> dict[str, Polynomial]:
        """Return each polynomial by the name of the intermediate that it is applied to."""
        found = {}
        for index, block in enumerate(self.blocks):
            found[f"{index}.attention.scores"] = block.attention.activation
            found[f"{index}.feed_forward.rise"] = block.feed_forward.activation
        return found


def _pool(x: Array, pooling: Pooling) -> Array:
    match pooling:
        case "mean":
            return np.asarray(x.mean(axis=-2))
        case "first":
            return x[..., 0, :]
        case "last":
            return x[..., -1, :]
    return x
