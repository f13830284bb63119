"""Random networks of the size of the Fashion-MNIST one, for the simulator's rows."""

from dataclasses import replace

import numpy as np

from unmask.poly.network import Affine, Attention, Block, FeedForward, Network
from unmask.poly.polynomial import Array, Polynomial


def made(
    seed: int,
    *,
    blocks: int,
    activation: Polynomial,
    tokens: int = 16,
    width: int = 64,
    heads: int = 4,
    hidden: int = 128,
    inputs: int = 49,
) -> Network:
    """Return a random network of the size of the Fashion-MNIST one."""
    rng = np.random.default_rng(seed)

    def affine(out: int, into: int, gain: float = 1.0) -> Affine:
        weight = gain * rng.standard_normal((out, into)) / np.sqrt(into)
        return Affine(weight=weight, bias=0.1 * rng.standard_normal(out))

    def block() -> Block:
        attention = Attention(
            query=affine(width, width),
            key=affine(width, width),
            value=affine(width, width),
            output=affine(width, width, 0.5),
            heads=heads,
            scale=np.full(heads, (width / heads) ** -0.5),
            shift=0.1 * rng.standard_normal(heads),
            activation=activation,
            mask=np.full((tokens, tokens), 1 / tokens),
        )
        feed = FeedForward(rise=affine(hidden, width), fall=affine(width, hidden, 0.5), activation=activation)
        return Block(attention=attention, feed_forward=feed)

    return Network(
        embedding=affine(width, inputs) if inputs else None,
        position=0.1 * rng.standard_normal((tokens, width)),
        blocks=tuple(block() for _ in range(blocks)),
        head=affine(10, width),
    )


def shrunk(network: Network) -> Network:
    """Return a network whose residual branches are scaled down until it stays in its intervals, as training does."""
    x = drawn(network, 64, 99)
    while any(
        polynomial.outside(1.5 * network.trace(x)[name]) > 0 for name, polynomial in network.polynomials().items()
    ):
        blocks = []
        for block in network.blocks:
            rise, query = block.feed_forward.rise, block.attention.query
            rise = Affine(weight=0.9 * rise.weight, bias=0.9 * rise.bias)
            query = Affine(weight=0.9 * query.weight, bias=0.9 * query.bias)
            blocks.append(
                Block(
                    attention=replace(block.attention, query=query), feed_forward=replace(block.feed_forward, rise=rise)
                )
            )
        network = replace(network, blocks=tuple(blocks))
    return network


def drawn(network: Network, count: int, seed: int) -> Array:
    """Return random inputs."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, network.tokens, network.inputs))
