"""How much an error at each polynomial of a network matters: the sites of a joint choice of degrees."""

import numpy as np

from unmask.poly.budget import Site
from unmask.poly.guard import guard
from unmask.poly.machine import Machine
from unmask.poly.network import Network
from unmask.poly.noise import Noise
from unmask.poly.placement import Chain, place
from unmask.poly.polynomial import Array
from unmask.poly.runner import Runner

MOST, ENTRIES = 60, 20_000_000
"""Levels of a chain that is long enough for any network here; gradients that are kept at most, all sites together."""


def gradients(network: Network, x: Array) -> dict[str, Array]:
    """Return the gradient of each logit by each polynomial's values, (logits, batch, ...), by the site's name.

    Args:
        network: with polynomials in place.
        x: (batch, n, inputs).

    Raises:
        BadInput: if the network leaves its intervals on x.
    """
    chain = Chain(levels=MOST, refreshed=MOST)
    runner = Runner(network=network, chain=chain, placement=place(network, chain), measured=guard(network, x))
    machine = Machine(noise=Noise.none(), drifts=(0.0,) * (MOST + 1))
    logits = runner.run(x, machine)
    found: dict[str, list[Array]] = {name: [] for name in machine.tape.names}
    for logit in np.ndindex(logits.value.shape[1:]):
        seed = np.zeros_like(logits.value)
        seed[(slice(None), *logit)] = 1.0
        reached: dict[str, Array] = {}
        machine.tape.back(logits.node, seed, watch=reached)
        for name, kept in found.items():
            kept.append(reached[name])
    return {name: np.stack(kept) for name, kept in found.items()}


def sites(network: Network, x: Array, *, margin: float = 1.2) -> tuple[Site, ...]:
    """Return the sites of a network with the ranges, inputs and gradients that were measured on data.

    Args:
        network: each of its polynomials has to say what it `approximates`.
        x: (batch, n, inputs); as many of them are used as memory allows.
        margin: by how much an interval is wider than what was seen.

    Raises:
        BadInput: if the network leaves its intervals on x.
    """
    polynomials, found = network.polynomials(), []
    first = network.trace(x[:1])
    units = sum(first[name].size for name in polynomials) * first["logits"].size
    x = x[: max(1, ENTRIES // units)]
    matters = gradients(network, x)
    for name, values in network.trace(x).items():
        if name in polynomials:
            low, high = float(values.min()), float(values.max())
            centre, half = (low + high) / 2, margin * (high - low) / 2
            # For independent errors of deviation one.
            size = float(np.sqrt((matters[name] ** 2).sum() / (len(x) * len(matters[name]))))
            found.append(
                Site(
                    name=name,
                    function=polynomials[name].approximates,
                    interval=(centre - half, centre + half),
                    sensitivity=size,
                    samples=values,
                    gradients=matters[name],
                )
            )
    return tuple(found)
