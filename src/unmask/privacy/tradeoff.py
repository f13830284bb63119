"""Trade-off curves (f-DP) and what they let an attacker do.

A curve f gives, for a test with false alarm rate alpha, the least rate f(alpha) at which it misses
(Dong, Roth and Su 2019). All of differential privacy's other measures follow from it.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from unmask.privacy.checks import budget, probability

Tradeoff = Callable[[float], float]
"""False alarm rate to the least miss rate; falls from at most 1 to 0, convex."""


def approximate(epsilon: float, delta: float) -> Tradeoff:
    """Return the curve of (epsilon, delta): `max(0, 1 - delta - e^eps alpha, e^-eps (1 - delta - alpha))`.

    Wasserman and Zhou 2010; a mechanism satisfies (epsilon, delta) exactly if its curve lies above this one.

    Args:
        epsilon: above 0.
        delta: in (0, 1).

    Raises:
        BadInput: if one is out of range.
    """
    budget(epsilon, delta)
    grow = math.exp(epsilon)
    return lambda alpha: max(0.0, 1 - delta - grow * alpha, (1 - delta - alpha) / grow)


def gaussian(mu: float) -> Tradeoff:
    """Return `Phi(Phi^-1(1 - alpha) - mu)`, the curve of N(0, 1) against N(mu, 1), `mu = sensitivity / sigma`."""
    return lambda alpha: float(ndtr(ndtri(1 - alpha) - mu))


def wishart(gap: float, degrees: int) -> Tradeoff:
    """Return the exact curve of k draws from N(0, 1) against k draws from N(0, 1 + gap).

    The likelihood ratio is monotone in the sum of squares, `c ~ chi^2_k` against `(1 + gap) c`, so the
    best test is a threshold on it (Neyman and Pearson). Any other eigenvalue at 1 adds nothing.

    Args:
        gap: `l - 1`, above -1.
        degrees: k.
    """

    def miss(alpha: float) -> float:
        if gap >= 0:
            return float(chi2.cdf(chi2.isf(alpha, degrees) / (1 + gap), degrees))
        return float(chi2.sf(chi2.ppf(alpha, degrees) / (1 + gap), degrees))

    return miss


def from_profile(profile: Callable[[float], float], highest: float = 50.0, points: int = 400) -> Tradeoff:
    """Return the curve of an accountant's `delta(epsilon)`, the largest of its (epsilon, delta) curves.

    `f = sup_eps max(0, 1 - delta(eps) - e^eps alpha, e^-eps (1 - delta(eps) - alpha))` (Dong, Roth and Su 2019,
    proposition 2.12). On a grid of epsilon it lies below the exact curve, which claims less, not more.

    Args:
        profile: epsilon >= 0 to delta.
        highest: largest epsilon of the grid.
        points: number of its points, dense near 0.
    """
    epsilons = highest * np.linspace(0, 1, points) ** 3
    deltas = np.array([profile(float(e)) for e in epsilons])
    grow = np.exp(epsilons)

    def miss(alpha: float) -> float:
        return float(max(0.0, (1 - deltas - grow * alpha).max(), ((1 - deltas - alpha) / grow).max()))

    return miss


def advantage(epsilon: float, delta: float) -> float:
    """Return the largest difference of hit rate and false alarm rate, `(e^eps - 1 + 2 delta) / (e^eps + 1)`.

    Kairouz, Oh and Viswanath 2015: it is where the two lines of the curve meet.

    Args:
        epsilon: above 0.
        delta: in (0, 1).

    Raises:
        BadInput: if one is out of range.

    Example:
        >>> round(advantage(1.0, 1e-5), 4)
        0.4621
    """
    budget(epsilon, delta)
    # Divided by e^eps, which may overflow.
    shrink = math.exp(-epsilon)
    return min(1.0, (-math.expm1(-epsilon) + 2 * delta * shrink) / (1 + shrink))


def success(prior: float, curve: Tradeoff) -> float:
    """Return the largest chance `1 - f(p)` of naming a secret that is right with chance p without the release.

    For every guess, the worlds in which it is right have prior mass at most p, so guessing well is a test with
    false alarm rate p (reconstruction robustness: Balle, Cherubin and Hayes 2022; Hayes et al. 2023).

    Args:
        prior: p, the chance of the best blind guess.
        curve: of the mechanism.

    Raises:
        BadInput: if the prior is not in (0, 1).
    """
    return 1 - curve(probability("prior", prior))


def posterior(prior: float, epsilon: float) -> float:
    """Return how sure of one of two neighbouring worlds an attacker can become: odds grow by at most `e^epsilon`.

    With delta > 0 this may fail with a probability of about delta.

    Args:
        prior: how sure before.
        epsilon: above 0.

    Raises:
        BadInput: if the prior is not in (0, 1).
    """
    rest = (1 - probability("prior", prior)) * math.exp(-epsilon)
    return prior / (prior + rest)
