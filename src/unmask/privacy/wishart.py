"""The exact accountant of the Gaussian-sampling release: k draws from N(0, Sigma), or their sample covariance.

The sum `W = sum_i g_i g_i^T` is sufficient for the draws, so publishing W costs as much as publishing them.
Two data sets with covariances `S1` and `S2` are told apart by the eigenvalues `l_j` of
`S2^-1/2 S1 S2^-1/2` alone; everything here takes their gaps `x_j = l_j - 1`, which keep digits when small.
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.optimize import brentq

from unmask.errors import BadInput
from unmask.privacy.checks import probability
from unmask.privacy.inversion import hockey_stick, loss
from unmask.privacy.renyi import Curve
from unmask.privacy.tails import difference, log_chi2_cdf, log_chi2_sf

Array = NDArray[np.float64]
Gaps = Sequence[float] | Array


def eigenvalue_gaps(first: Array, second: Array) -> Array:
    """Return `l_j - 1` for the eigenvalues of `S2^-1/2 S1 S2^-1/2`, ascending.

    They are the generalised eigenvalues of (S1 - S2, S2), which does not cancel for close matrices.

    Args:
        first: (n, n) S1, symmetric positive definite.
        second: (n, n) S2, symmetric positive definite.
    """
    return np.asarray(scipy.linalg.eigh(first - second, second, eigvals_only=True), dtype=np.float64)


def inverse(gaps: Gaps) -> Array:
    """Return the gaps with the two data sets exchanged: `1/l - 1`."""
    x = np.asarray(gaps, dtype=np.float64).reshape(-1)
    return -x / (1 + x)


def closed_form(gap: float, degrees: int, epsilon: float) -> float:
    """Return delta of one order for one eigenvalue l = 1 + gap, by two chi-square tails.

    With one eigenvalue the loss is `-k/2 ln l + (l-1)/2 c`, `c ~ chi^2_k` under P1; under P2 the factor
    is `(1 - 1/l)/2`. So for l > 1, with a = epsilon + k/2 ln l,
    `delta = Pr[c > 2a/(l-1)] - e^epsilon Pr[c > 2a/(1 - 1/l)]`; for l < 1 the tails are the lower ones.

    Args:
        gap: above -1.
        degrees: k, how many draws were published.
        epsilon: of any sign.
    """
    if gap == 0:
        return max(0.0, -math.expm1(epsilon))
    a = epsilon + 0.5 * degrees * math.log1p(gap)
    low, high = 2 * a / gap, 2 * a * (1 + gap) / gap
    tail = log_chi2_sf if gap > 0 else log_chi2_cdf
    return difference(tail(low, degrees), epsilon + tail(high, degrees))


def delta_one_order(gaps: Gaps, degrees: int, epsilon: float) -> float:
    """Return `sup_A P1(A) - e^epsilon P2(A)`: in closed form for one eigenvalue, else by inversion.

    Args:
        gaps: `l_j - 1` of P1 relative to P2.
        degrees: k.
        epsilon: of any sign.

    Raises:
        BadInput: if a gap is -1 or less.
    """
    x = np.asarray(gaps, dtype=np.float64).reshape(-1)
    x = x[x != 0]
    if len(x) and (x <= -1).any():
        raise BadInput("gaps", float(x.min()), "is not above -1", "give eigenvalues minus 1 of a positive matrix")
    if len(x) > 1:
        return hockey_stick(loss(x, degrees), epsilon)
    return closed_form(float(x[0]) if len(x) else 0.0, degrees, epsilon)


def delta_of(gaps: Gaps, degrees: int, epsilon: float) -> float:
    """Return the least delta that holds with epsilon in both orders.

    Args:
        gaps: `l_j - 1`.
        degrees: k.
        epsilon: of any sign.

    Raises:
        BadInput: if a gap is -1 or less.

    Example:
        >>> round(delta_of([0.1], 50, 0.5), 7)
        0.0544673
    """
    return max(delta_one_order(gaps, degrees, epsilon), delta_one_order(inverse(gaps), degrees, epsilon))


def epsilon_of(gaps: Gaps, degrees: int, delta: float) -> float:
    """Return the least epsilon >= 0 that holds with delta, rounded up in the tenth digit.

    Args:
        gaps: `l_j - 1`.
        degrees: k.
        delta: in (0, 1).

    Raises:
        BadInput: if delta is not in (0, 1) or a gap is -1 or less.
    """
    probability("delta", delta)
    if delta_of(gaps, degrees, 0.0) <= delta:
        return 0.0
    high = 1.0
    while delta_of(gaps, degrees, high) > delta:
        high *= 2
    root = brentq(lambda e: delta_of(gaps, degrees, e) - delta, 0.0, high, xtol=1e-12 * high, rtol=1e-13)
    return float(root) * (1 + 1e-10)


def renyi_one_order(gaps: Gaps, degrees: int, order: float) -> float:
    """Return `D_alpha(P1 || P2) = -k/2 sum_j [ln(1 - (alpha-1) x_j) / (alpha-1) + ln(1 + x_j)]`, or infinity."""
    x = np.asarray(gaps, dtype=np.float64).reshape(-1)
    a = order - 1
    if (a * x >= 1).any():
        return math.inf
    return -0.5 * degrees * float(np.sum(np.log1p(-a * x) / a + np.log1p(x)))


def renyi(gaps: Gaps, degrees: int) -> Curve:
    """Return the larger Renyi divergence of the two orders, as a curve that composes by addition."""
    back = inverse(gaps)
    return lambda order: max(renyi_one_order(gaps, degrees, order), renyi_one_order(back, degrees, order))


def kl(gaps: Gaps, degrees: int) -> float:
    """Return the Kullback-Leibler divergence `k/2 sum_j (x_j - ln(1 + x_j))` of P1 from P2."""
    x = np.asarray(gaps, dtype=np.float64).reshape(-1)
    return 0.5 * degrees * float(np.sum(x - np.log1p(x)))


def tcdp(gaps: Gaps, degrees: int, share: float = 0.5) -> tuple[float, float]:
    """Return (rho, omega): both orders satisfy `D_alpha <= rho alpha` for 1 < alpha <= omega.

    For x > 0 and a x <= t < 1: `-ln(1 - a x) <= a x + (a x)^2 / (2 (1-t))` and `ln(1+x) >= x - x^2/2`, so
    the sum is at most `k/4 x^2 (a/(1-t) + 1) <= k x^2 / (4 (1-t)) alpha`. For x < 0 no order is too large:
    `ln(1 + a|x|) >= a|x| - (a x)^2/2` and `-ln(1+x) <= |x| + x^2 / (2 (1+x))` give `k x^2 / (4 (1+x)) alpha`.
    (Truncated concentrated privacy: Bun, Dwork, Rothblum and Steinke 2018.)

    Args:
        gaps: `l_j - 1`.
        degrees: k.
        share: t, how close to the pole the orders may come.
    """
    orders = []
    for x in (np.asarray(gaps, dtype=np.float64).reshape(-1), inverse(gaps)):
        slack = np.where(x > 0, 1 - share, 1 + x)
        largest = float(x.max(initial=0.0))
        orders.append((0.25 * degrees * float(np.sum(x**2 / slack)), 1 + share / largest if largest else math.inf))
    return max(rho for rho, _ in orders), min(omega for _, omega in orders)
