"""How much an error at each polynomial of a network matters: the sites of a joint choice of degrees."""

import numpy as np

from unmask.poly.budget import Site
from unmask.poly.guard import guard
from unmask.poly.machine import Machine
from unmask.poly.network import Network
from unmask.poly.noise import Noise
from unmask.poly.placement import Chain, place
from unmask.poly.polynomial import Array
from unmask.poly.simulator import Runner

MOST, SAMPLES = 60, 4096
"""Levels of a chain that is long enough for any network here; inputs kept of each site."""


def sensitivities(network: Network, x: Array) -> dict[str, float]:
    """Return by how much the logits move, root mean square, for independent errors of deviation one at each site.

    To first order: the root of the mean over inputs and logits of the squared gradient, summed over a site's units.

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
    squares = dict.fromkeys(machine.tape.names, 0.0)
    places = list(np.ndindex(logits.value.shape[1:]))
    for logit in places:
        seed = np.zeros_like(logits.value)
        seed[(slice(None), *logit)] = 1.0
        found: dict[str, Array] = {}
        machine.tape.back(logits.node, seed, watch=found)
        for name, gradient in found.items():
            squares[name] += float((gradient**2).sum()) / len(x)
    return {name: float(np.sqrt(square / len(places))) for name, square in squares.items()}


def sites(network: Network, x: Array, rng: np.random.Generator, *, margin: float = 1.2) -> tuple[Site, ...]:
    """Return the sites of a network with the ranges, inputs and sensitivities that were measured on data.

    Args:
        network: each of its polynomials has to say what it `approximates`.
        x: (batch, n, inputs).
        rng: picks the inputs that are kept.
        margin: by how much an interval is wider than what was seen.

    Raises:
        BadInput: if the network leaves its intervals on x.
    """
    polynomials, found = network.polynomials(), []
    matters = sensitivities(network, x)
    for name, values in network.trace(x).items():
        if name in polynomials:
            flat = values.ravel()
            kept = flat if len(flat) <= SAMPLES else rng.choice(flat, SAMPLES, replace=False)
            half = margin * (float(flat.max()) - float(flat.min())) / 2
            centre = (float(flat.max()) + float(flat.min())) / 2
            interval = (centre - half, centre + half)
            function = polynomials[name].approximates
            found.append(Site(name=name, function=function, interval=interval, sensitivity=matters[name], samples=kept))
    return tuple(found)
