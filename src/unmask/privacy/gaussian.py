"""The Gaussian mechanism: its exact (epsilon, delta), its calibration, and composition."""

import math

from scipy.optimize import brentq

from unmask.privacy.checks import budget, positive, probability
from unmask.privacy.tails import difference, log_normal_cdf


def delta_of(epsilon: float, sigma: float, sensitivity: float = 1.0) -> float:
    """Return the least delta of `f(x) + N(0, sigma^2 I)`, `||f(x) - f(x')|| <= sensitivity`.

    With `mu = sensitivity / sigma`: `Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)`
    (Balle and Wang 2018, theorem 8). Only the projection on f(x) - f(x') tells the two apart, so the
    dimension plays no part.

    Args:
        epsilon: of any sign.
        sigma: standard deviation of each entry.
        sensitivity: largest L2 distance.

    Example:
        >>> round(delta_of(1.0, 3.7306316), 7)
        1e-05
    """
    mu = positive("sensitivity", sensitivity) / positive("sigma", sigma)
    first = log_normal_cdf(mu / 2 - epsilon / mu)
    return difference(first, epsilon + log_normal_cdf(-mu / 2 - epsilon / mu))


def epsilon_of(delta: float, sigma: float, sensitivity: float = 1.0) -> float:
    """Return the least epsilon >= 0 that holds with delta, rounded up in the twelfth digit.

    Args:
        delta: in (0, 1).
        sigma: standard deviation of each entry.
        sensitivity: largest L2 distance.

    Raises:
        BadInput: if an argument is out of range.
    """
    probability("delta", delta)
    if delta_of(0.0, sigma, sensitivity) <= delta:
        return 0.0
    high = 1.0
    while delta_of(high, sigma, sensitivity) > delta:
        high *= 2
    root = float(brentq(lambda e: delta_of(e, sigma, sensitivity) - delta, 0.0, high, xtol=1e-13 * high, rtol=1e-14))
    return root * (1 + 1e-12)


def calibrate(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """Return the least sigma that gives (epsilon, delta), rounded up in the twelfth digit.

    Args:
        epsilon: above 0.
        delta: in (0, 1).
        sensitivity: largest L2 distance.

    Raises:
        BadInput: if an argument is out of range.

    Example:
        >>> round(calibrate(1.0, 1e-5), 4)
        3.7306
    """
    budget(epsilon, delta)
    low = high = 0.0
    while delta_of(epsilon, math.exp(high)) > delta:
        high += 1
    while delta_of(epsilon, math.exp(low)) <= delta:
        low -= 1
    root = brentq(lambda u: delta_of(epsilon, math.exp(u)) - delta, low, high, xtol=1e-14)
    return positive("sensitivity", sensitivity) * math.exp(root) * (1 + 1e-12)


def zcdp(sigma: float, sensitivity: float = 1.0) -> float:
    """Return rho of zero-concentrated differential privacy, `sensitivity^2 / (2 sigma^2)` (Bun and Steinke 2016)."""
    return 0.5 * (sensitivity / sigma) ** 2


def composed(sensitivity: float, releases: int) -> float:
    """Return the sensitivity to which several Gaussian releases of one sigma amount: `sqrt(Q) sensitivity`.

    Q Gaussian releases, each chosen after the last, are as distinguishable as one of
    `mu_total = sqrt(Q) mu` (Dong, Roth and Su 2019, corollary 3.3), so calibrating to this is exact.

    Args:
        sensitivity: of each release.
        releases: Q.

    Example:
        >>> composed(2.0, 100)
        20.0
    """
    return sensitivity * math.sqrt(releases)
