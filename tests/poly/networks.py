"""Small random networks for tests."""

import numpy as np

from unmask.poly.network import Affine, Attention, Block, FeedForward, Network
from unmask.poly.polynomial import Polynomial


def affine(rng, out, into, size=0.3):
    return Affine(weight=size * rng.standard_normal((out, into)) / np.sqrt(into), bias=0.1 * rng.standard_normal(out))


def network(
    seed=0, *, tokens=4, width=8, heads=2, hidden=12, inputs=6, classes=3, layers=2, pooling="mean", causal=False
):
    """A network with degree-2 attention and degree-3 units."""
    rng = np.random.default_rng(seed)
    square = Polynomial(coefficients=(0.4, 0.5, 0.2), interval=(-2.0, 2.0))
    cubic = Polynomial(coefficients=(0.1, 0.6, 0.2, 0.05), interval=(-3.0, 3.0))
    mask = np.tril(np.ones((tokens, tokens))) / tokens if causal else None
    blocks = []
    for _ in range(layers):
        parts = {name: affine(rng, width, width) for name in ("query", "key", "value", "output")}
        scale, shift = np.full(heads, (width / heads) ** -0.5), 0.1 * rng.standard_normal(heads)
        attention = Attention(**parts, heads=heads, scale=scale, shift=shift, activation=square, mask=mask)
        feed = FeedForward(rise=affine(rng, hidden, width), fall=affine(rng, width, hidden), activation=cubic)
        blocks.append(Block(attention=attention, feed_forward=feed))
    return Network(
        embedding=affine(rng, width, inputs) if inputs else None,
        position=0.1 * rng.standard_normal((tokens, width)),
        blocks=tuple(blocks),
        head=affine(rng, classes, width),
        pooling=pooling,
    )
