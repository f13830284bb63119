"""DP-SGD: epsilon of many steps of a Poisson-subsampled Gaussian, by privacy loss distributions."""

import math
from importlib import import_module
from typing import Any

from scipy.optimize import brentq

from unmask.errors import BadInput, MissingExtra
from unmask.privacy import gaussian
from unmask.privacy.checks import at_least_one, budget, positive, probability
from unmask.privacy.claim import Claim

ACCOUNTANT = "PLD"
LEAST = 0.05
"""Noise below which one step alone loses hundreds: the grid of losses would not fit in memory."""


def epsilon_of(noise: float, rate: float, steps: int, delta: float) -> float:
    """Return epsilon of `steps` steps that each add `N(0, (noise C)^2 I)` to a Poisson sample's sum of gradients.

    Each gradient is clipped to norm C and each example is in a step's batch with probability `rate`,
    independently, so a batch may be empty: then the step releases noise alone and must still be taken.
    Neighbours differ by adding or removing one example. The privacy loss distribution is rounded up on a grid
    of 1e-4 and composed by FFT (Koskela et al. 2020; Doroshenko et al. 2022, dp-accounting), so this is an upper bound.

    Args:
        noise: standard deviation over the clipping norm.
        rate: in (0, 1]; expected batch size over number of examples.
        steps: how many.
        delta: in (0, 1).

    Raises:
        BadInput: if an argument is out of range.
        MissingExtra: if dp-accounting is not installed.
    """
    probability("delta", delta)
    return float(_composed(noise, rate, steps).get_epsilon(delta))


def delta_of(noise: float, rate: float, steps: int, epsilon: float) -> float:
    """Return delta of the same steps for epsilon; arguments as in `epsilon_of`."""
    return float(_composed(noise, rate, steps).get_delta(positive("epsilon", epsilon)))


def noise_for(epsilon: float, delta: float, rate: float, steps: int, *, records: int | None = None) -> float:
    """Return the least noise multiplier that gives (epsilon, delta), to about 1e-3 and on the safe side.

    Args:
        epsilon: above 0.
        delta: in (0, 1); a warning says so if it is not below 1/records.
        rate: as in `epsilon_of`.
        steps: how many.
        records: number of training examples, if known.

    Raises:
        BadInput: if an argument is out of range.
        MissingExtra: if dp-accounting is not installed.
    """
    budget(epsilon, delta, records=records)
    high = 1.0
    while epsilon_of(high, rate, steps, delta) > epsilon:
        high *= 1.5
    # Small steps down: the distribution of a small noise is wide and slow.
    low = high / 1.25
    while epsilon_of(low, rate, steps, delta) <= epsilon:
        low /= 1.25
    root = float(brentq(lambda s: epsilon_of(s, rate, steps, delta) - epsilon, low, high, xtol=1e-3))
    while epsilon_of(root, rate, steps, delta) > epsilon:
        root += 5e-4
    return root


def claim(noise: float, rate: float, steps: int, delta: float, *, unit: str = "one training example") -> Claim:
    """Return what the steps claim; the status is `claimed` until the training loop was audited.

    Args:
        noise: as in `epsilon_of`.
        rate: as there.
        steps: as there.
        delta: as there.
        unit: what one element of the sampled data set is.
    """
    # So little noise is accounted for as if everybody took part in every step: never less than the truth.
    faint = positive("noise", noise) < LEAST
    bound = gaussian.epsilon_of(delta, noise / math.sqrt(at_least_one("steps", steps))) if faint else None
    return Claim(
        epsilon=epsilon_of(noise, rate, steps, delta) if bound is None else bound,
        delta=delta,
        unit=unit,
        neighbours=f"add or remove {unit}",
        accountant="analytic Gaussian without sampling" if faint else ACCOUNTANT,
        scope=f"all {steps} steps, every intermediate model included" if steps > 1 else "one step",
    )


def _composed(noise: float, rate: float, steps: int) -> Any:
    if positive("noise", noise) < LEAST:
        raise BadInput("noise", noise, "promises nothing: one step would lose hundreds", "give more")
    at_least_one("steps", steps)
    if not 0 < rate <= 1:
        raise BadInput("rate", rate, "is not in (0, 1]", "give the expected batch size over the number of examples")
    try:
        dp = import_module("dp_accounting")
        pld = import_module("dp_accounting.pld")
    except ImportError as error:
        raise MissingExtra("dp-accounting", "privacy") from error
    step = dp.GaussianDpEvent(noise)
    sampled = dp.PoissonSampledDpEvent(rate, step) if rate < 1 else step
    return pld.PLDAccountant().compose(dp.SelfComposedDpEvent(sampled, steps))
