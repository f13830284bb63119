"""From a plain network to a package: packing, circuit, levels and refreshed ciphertexts."""

from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from unmask.errors import BadInput
from unmask.he import lowering
from unmask.he.builder import Builder
from unmask.he.costs import Costs
from unmask.he.levels import levelled, refreshed
from unmask.he.package import Package, Reading
from unmask.he.packing import Array, Packing, power
from unmask.he.parameters import Parameters
from unmask.he.program import Program
from unmask.poly.network import Network

MARGIN = 1.5
"""Representations are divided by so much more than their largest calibration value before a bootstrap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Circuit:
    """A network as steps, before parameters are fixed.

    Args:
        network: what it computes.
        program: steps without levels.
        packing: the axes.
        tensors: the weights.
    """

    network: Network
    program: Program
    packing: Packing
    tensors: dict[str, Array]

    @property
    def depth(self) -> int:
        """Levels without a bootstrap."""
        return levelled(self.program).levels


def packing_of(network: Network, slots: int, batch: int | None = None) -> Packing:
    """Return the axes for a network: as many images as leave a block for every token, unless said otherwise.

    Args:
        network: gives tokens and width.
        slots: entries of a vector.
        batch: images in a ciphertext, a power of two.

    Raises:
        BadInput: if one image does not fit.
    """
    width, rows = lowering.width_of(network), power(network.tokens)
    room = slots // (width * rows)
    if not room:
        needed = f"take a ring of 2^{(2 * width * rows - 1).bit_length()}, or fewer tokens or features"
        raise BadInput("network", (network.tokens, network.width), f"does not fit {slots} slots", needed)
    images = max(1, room // rows) if batch is None else batch
    if images > room:
        raise BadInput("batch", images, f"exceeds the {room} that fit", "take fewer images, or a larger ring")
    return Packing(width=width, blocks=room // images, rows=rows, batch=images, tokens=network.tokens)


def lower(network: Network, packing: Packing, *, scale: float = 1.0) -> Circuit:
    """Return the circuit of a network.

    Args:
        network: what to compute.
        packing: the axes.
        scale: what representations between layers are divided by.
    """
    builder = Builder.of(packing)
    outputs = lowering.network(builder, network, scale)
    program = builder.program(("x",), outputs)
    return Circuit(network=network, program=program, packing=packing, tensors=builder.tensors)


def reading_of(network: Network, packing: Packing, low: float = -inf, high: float = inf) -> Reading:
    """Return what the client needs to know."""
    results = len(network.head.bias)
    wide = results > packing.width
    return Reading(
        features=network.inputs,
        low=low,
        high=high,
        rows=packing.width if wide else results,
        groups=min(packing.blocks, power(-(-results // packing.width))) if wide else 1,
        results=results,
        pooling=network.pooling,
        classes=network.classes,
    )


def _unused() -> None:
    return None
