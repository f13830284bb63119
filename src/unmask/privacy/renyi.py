"""Renyi differential privacy: curves, their sums, and the way to (epsilon, delta)."""

import math
from collections.abc import Callable

from scipy.optimize import brentq, minimize_scalar

from unmask.privacy.checks import budget, probability

Curve = Callable[[float], float]
"""Order alpha > 1 to the Renyi divergence `D_alpha`; infinite where it is."""


def compose(*curves: Curve) -> Curve:
    """Return the curve of several releases, adaptive ones too: divergences of one order add (Mironov 2017).

    Example:
        >>> compose(gaussian(0.5), gaussian(0.25))(4.0)
        3.0
    """
    return lambda order: math.fsum(curve(order) for curve in curves)


def gaussian(rho: float) -> Curve:
    """Return the curve `rho alpha` of rho-zCDP; a Gaussian of `mu = sensitivity / sigma` has `rho = mu^2 / 2`."""
    return lambda order: rho * order


def epsilon(curve: Curve, delta: float) -> float:
    """Return an epsilon that holds with this delta, the least over all orders.

    `epsilon = D_alpha + ln(1 - 1/alpha) - ln(alpha delta) / (alpha - 1)`
    (Canonne, Kamath and Steinke 2020, proposition 12; Balle et al. 2020).

    Args:
        curve: the divergences.
        delta: in (0, 1).

    Raises:
        BadInput: if delta is not in (0, 1).
    """
    probability("delta", delta)

    def bound(u: float) -> float:
        excess = math.exp(u)
        order = 1 + excess
        value = curve(order)
        if not math.isfinite(value):
            return 1e300 + u  # so that the search moves to lower orders
        return value + math.log(excess / order) - math.log(order * delta) / excess

    return max(0.0, _least(bound))


def delta(curve: Curve, epsilon: float) -> float:
    """Return a delta that holds with this epsilon: the least `e^{(a-1)(D_a - epsilon)} / (a-1) (1 - 1/a)^a`."""

    def bound(u: float) -> float:
        excess = math.exp(u)
        order = 1 + excess
        value = curve(order)
        if not math.isfinite(value):
            return 1e300 + u
        return excess * (value - epsilon) - u + order * math.log(excess / order)

    return min(1.0, math.exp(min(_least(bound), 0.0)))


def rho_for(epsilon_: float, delta_: float) -> float:
    """Return the largest rho of zCDP that gives (epsilon, delta) by `epsilon`, rounded down in the tenth digit.

    Args:
        epsilon_: above 0.
        delta_: in (0, 1).

    Raises:
        BadInput: if one is out of range.
    """
    budget(epsilon_, delta_)
    low = high = math.log(epsilon_)
    while epsilon(gaussian(math.exp(low)), delta_) > epsilon_:
        low -= 2
    while epsilon(gaussian(math.exp(high)), delta_) <= epsilon_:
        high += 2
    root = brentq(lambda u: epsilon(gaussian(math.exp(u)), delta_) - epsilon_, low, high, xtol=1e-12)
    return math.exp(float(root)) * (1 - 1e-10)


def _least(bound: Callable[[float], float]) -> float:
    """Return the least value over u = ln(alpha - 1), searched coarsely and then finely."""
    grid = [0.25 * i for i in range(-48, 81)]
    centre = min(grid, key=bound)
    found = minimize_scalar(bound, bounds=(centre - 0.25, centre + 0.25), method="bounded", options={"xatol": 1e-10})
    return min(float(found.fun), bound(centre))
