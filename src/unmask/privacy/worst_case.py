"""The worst case of the Gaussian-sampling release over all data, given only `s = beta / sqrt(eta)`: exact and attained.

Data X (n, d), neighbours `X' = X + e_i d^T` with `||d|| <= beta`, covariances `S = X X^T + eta I` and S' alike, with
a public ridge eta. Let r > 1 solve `r - 1/r = s`.

Theorem. k draws from N(0, S) and from N(0, S') are a post-processing of k draws of two independent normal numbers:
of variances (1, 1) and of variances (r^2, r^-2). So this pair dominates every pair of neighbours in every divergence,
for trade-off curves and under adaptive composition, and it is the limit of pairs of neighbours.

Proof. For every u, with `b = ||X^T u||`, `h = sqrt(eta) ||u||` and `|u_i| <= ||u||`:
`u^T S' u / u^T S u <= ((b + s h)^2 + h^2) / (b^2 + h^2) <= ||[[1, s], [0, 1]]||^2 = r^2`, because the singular values
of that matrix have the product 1 and the squares' sum 2 + s^2. Exchanging the data sets, the eigenvalues of
`S^-1/2 S' S^-1/2` lie in [r^-2, r^2]. It differs from I by a matrix of rank two whose two eigenvalues have opposite
signs: with `a = S^-1/2 e_i` and `w = S^-1/2 X d` it is `w a^T + a w^T + |d|^2 a a^T`, and the product of its
eigenvalues is `(a w)^2 - |a|^2 |w|^2 <= 0`. So at most one eigenvalue lies above 1 and one below. Finally
N(0, l) against N(0, 1) with 1 <= l <= L is made from N(0, L) against N(0, 1) by `g -> c g + sqrt(1 - c^2) xi`,
`c^2 = (l - 1) / (L - 1)`, and likewise below 1. Attained: row i is zero, another has length B along d, B to infinity.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from unmask.privacy import renyi as rdp
from unmask.privacy import wishart
from unmask.privacy.checks import at_least_one, budget, positive, probability

Array = NDArray[np.float64]


def worst_gaps(ratio: float) -> Array:
    """Return `(r^2 - 1, r^-2 - 1) = (s r, -s / r)` for `s = ratio`; exchanging the data sets exchanges them.

    Args:
        ratio: `beta / sqrt(eta)`.

    Raises:
        BadInput: if it is not a finite number above 0.
    """
    s = positive("ratio", ratio)
    r = (s + math.hypot(s, 2)) / 2
    return np.array([s * r, -s / r])


def delta_of(ratio: float, degrees: int, epsilon: float) -> float:
    """Return the least delta over all data for `s = ratio`, k draws and epsilon; both orders are equal."""
    return wishart.delta_one_order(worst_gaps(ratio), degrees, epsilon)


def epsilon_of(ratio: float, degrees: int, delta: float) -> float:
    """Return the least epsilon over all data for `s = ratio`, k draws and delta."""
    return wishart.epsilon_of(worst_gaps(ratio), degrees, delta)


def renyi(ratio: float, degrees: int) -> rdp.Curve:
    """Return the largest Renyi divergence over all data, for composition."""
    return wishart.renyi(worst_gaps(ratio), degrees)


def radius(epsilon: float, delta: float, degrees: int) -> float:
    """Return the largest `s = beta / sqrt(eta)` that (epsilon, delta) allows with k draws.

    Args:
        epsilon: above 0.
        delta: in (0, 1).
        degrees: k.

    Raises:
        BadInput: if an argument is out of range.

    Example:
        >>> round(radius(1.0, 1e-5, 1024), 5)
        0.00835
    """
    budget(epsilon, delta)
    at_least_one("degrees", degrees)

    def excess(u: float) -> float:
        return delta_of(math.exp(u), degrees, epsilon) - delta

    low, high = -1.0, 0.0
    while excess(low) > 0:
        low -= 2
    while excess(high) <= 0:
        high += 2
    return math.exp(float(brentq(excess, low, high, xtol=1e-12)) - 1e-9)


def sensitivity(ratio: float) -> float:
    """Return the largest M over all data, `sqrt((r^2 - 1)^2 + (1 - r^-2)^2)`: what the published condition bounds.

    M is the larger Frobenius norm of `S1^-1/2 S2 S1^-1/2 - I` and of the same with the roles exchanged.
    """
    return float(np.linalg.norm(worst_gaps(ratio)))


def published_cap(epsilon: float, delta: float, degrees: int) -> float:
    """Return Delta of the published condition M <= Delta: `min(eps / sqrt(8 k ln(1/delta)), eps / (8 ln(1/delta)))`.

    As it circulates in the papers of the group (Gao, Song, Yang and Zhou 2023, after Alabi et al. 2022);
    its text was not available, but the condition is sound by the exact accountant, and loose.

    Args:
        epsilon: in (0, 1) in the papers; the formula is evaluated for any.
        delta: in (0, 1).
        degrees: k.
    """
    ln = math.log(1 / probability("delta", delta))
    return min(epsilon / math.sqrt(8 * degrees * ln), epsilon / (8 * ln))


def published_radius(epsilon: float, delta: float, degrees: int) -> float:
    """Return the largest s that M <= Delta certifies, with the exact sensitivity of this module.

    This is kinder to the condition than the cruder sensitivity `2 sqrt(n) B beta / eta` of the papers.

    Args:
        epsilon: as in `published_cap`.
        delta: as there.
        degrees: as there.
    """
    cap = published_cap(epsilon, delta, degrees)
    # M is between s and s (s + 2) sqrt(2), so the root is bracketed.
    return float(brentq(lambda s: sensitivity(s) - cap, cap / 8 / (1 + cap), cap, xtol=1e-15, rtol=1e-12))
