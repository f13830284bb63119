"""An encrypted inference on plain numbers: levels, bootstraps, noise, and the error that it leaves in the output.

>>> chain = Chain(ring=16, scale=45, levels=24)
>>> simulate(network, images, chain, np.random.default_rng(0)).agreement  # doctest: +SKIP
1.0
"""

from dataclasses import dataclass

import numpy as np

from unmask.errors import BadInput
from unmask.poly.guard import Range, guard
from unmask.poly.machine import Machine
from unmask.poly.network import Network
from unmask.poly.placement import Chain, Placement, place
from unmask.poly.polynomial import Array
from unmask.poly.runner import Runner

BATCH = 64
"""Inputs at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """What an encrypted inference would give.

    Args:
        logits: (batch, classes), with noise.
        exact: the same without.
        predicted: root mean square error of a logit, from the noise of each operation carried to the output.
        drift: the part of `predicted` that is not random: the scale's distance from the primes.
        placement: levels and bootstraps.
        ranges: what reached each polynomial.
        trials: how many inputs the prediction was made on.
    """

    logits: Array
    exact: Array
    predicted: float
    drift: float
    placement: Placement
    ranges: tuple[Range, ...]
    trials: int

    @property
    def measured(self) -> float:
        """Root mean square error of a logit."""
        return float(np.sqrt(np.mean((self.logits - self.exact) ** 2)))

    @property
    def largest(self) -> float:
        """Largest error of a logit."""
        return float(np.abs(self.logits - self.exact).max())

    @property
    def agreement(self) -> float:
        """Share of inputs, or of tokens, whose largest logit is the same."""
        return float(np.mean(self.logits.argmax(axis=-1) == self.exact.argmax(axis=-1)))


def simulate(
    network: Network, x: Array, chain: Chain, rng: np.random.Generator, *, probes: int = 32, share: float = 1.0
) -> Simulation:
    """Run a network as CKKS would, and predict its error beside.

    Args:
        network: the network.
        x: (batch, n, inputs), held-out inputs.
        chain: parameters of the scheme.
        rng: source of the noise.
        probes: on how many inputs the error is predicted.
        share: part of each interval that may be used.

    Raises:
        BadInput: if the network leaves an interval on x, or there are too few levels; see `guard` and `place`.
    """
    if probes < 1:
        raise BadInput("probes", probes, "is below 1", "predict on at least one input")
    measured = guard(network, x, share=share)
    placement = place(network, chain)
    runner = Runner(network=network, chain=chain, placement=placement, measured=measured)
    noisy = [
        runner.run(x[start : start + BATCH], Machine(noise=chain.noise, drifts=chain.drifts, rng=rng)).value
        for start in range(0, len(x), BATCH)
    ]
    biases, variances = runner.forecast(x[:probes])
    return Simulation(
        logits=np.concatenate(noisy),
        exact=measured.logits,
        predicted=float(np.sqrt(np.mean(biases**2 + variances))),
        drift=float(np.sqrt(np.mean(biases**2))),
        placement=placement,
        ranges=measured.ranges,
        trials=min(probes, len(x)),
    )
