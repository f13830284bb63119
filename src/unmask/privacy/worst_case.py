"""The worst case of the Gaussian-sampling release over all data, given only `s = beta / sqrt(eta)`.

Data X (n, d), one row moves by at most beta, and `Sigma = X X^T + eta I = Y Y^T` with `Y = [X, sqrt(eta) I]`.
Let `U = Sigma^-1/2 Y`, whose rows are orthonormal, a = Sigma^-1/2 e_i with `||a|| <= 1/sqrt(eta)` and the row move
by d with `||d|| <= beta`. Then `Sigma^-1/2 Sigma' Sigma^-1/2 = (U + a d^T)(U + a d^T)^T`: rank two away from I.
Write `t = ||a|| ||d|| <= s`, `c = t <a, U d> / (||a|| ||d||)` and `q = t^2 ||U d||^2 / ||d||^2 >= c^2`. The two
eigenvalues l1 >= 1 >= l2 have the sum `2 + 2c + t^2` and the product `p^2 = (1+c)^2 + t^2 - q >= (1+c)^2`, so their
roots satisfy `(sqrt l1 - sqrt l2)^2 = 2 + 2c + t^2 - 2p <= t^2`:

    sqrt(l1) - sqrt(l2) <= s,   and exchanging the data sets,   1/sqrt(l2) - 1/sqrt(l1) <= s.

A product of scale families is told apart the better the farther any one scale lies from 1, in every divergence,
so the worst data lie on the frontier of these two conditions: a curve with one parameter, `frontier` below.

- Renyi: on the frontier `D_alpha` of either order falls and then rises along c, so its largest value is at an end,
  where one eigenvalue is left: `l = (1+s)^2` or its inverse. **Proved**, in docs/guarantees/attention-release.md.
- Hockey-stick: the end is the worst on every grid that was tried while delta is below 0.4, and is **not** the worst
  for some s >= 2 and delta above it (s = 2, k = 1, epsilon = 0: 0.484 at the end, 0.5 in the middle). So the
  frontier is searched each time, on a grid: `delta_of` takes the largest value, `epsilon_of` and `radius` solve
  at the end and then give way if the frontier says so. **Checked**, not proved, between the points of the grid.

Without a floor under the second data set (no public ridge) only the first condition holds, and the end is
`l = (1-s)^2`, s < 1.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from unmask.errors import BadInput
from unmask.privacy import renyi as rdp
from unmask.privacy import wishart
from unmask.privacy.checks import at_least_one, budget, positive, probability

Array = NDArray[np.float64]


def worst_gap(ratio: float, *, ridge: bool = True) -> float:
    """Return the gap `l - 1 > 0` of the worst eigenvalue for `s = ratio`.

    Args:
        ratio: `beta / sqrt(eta)`.
        ridge: whether a public ridge keeps the floor eta under both data sets.

    Raises:
        BadInput: if the ratio is not positive, or 1 or more without a ridge.
    """
    s = positive("ratio", ratio)
    if ridge:
        return s * (2 + s)
    if s >= 1:
        raise BadInput("ratio", ratio, "reaches 1, so the second matrix may be singular", "add a public ridge")
    return s * (2 - s) / (1 - s) ** 2


def delta_of(ratio: float, degrees: int, epsilon: float, *, ridge: bool = True, points: int = 9) -> float:
    """Return the least delta over all data for `s = ratio`, k draws and epsilon, both orders.

    Args:
        ratio: s.
        degrees: k.
        epsilon: of any sign.
        ridge: whether a public ridge keeps the floor under both data sets.
        points: of the frontier, its ends and middle included.
    """
    end = _end(ratio, degrees, epsilon, ridge)
    inner = [wishart.delta_of(pair, degrees, epsilon) for pair in frontier(ratio, points, ridge=ridge)[1:-1]]
    return max(end, *inner)


def _end(ratio: float, degrees: int, epsilon: float, ridge: bool) -> float:
    return wishart.delta_of([worst_gap(ratio, ridge=ridge)], degrees, epsilon)


def epsilon_of(ratio: float, degrees: int, delta: float, *, ridge: bool = True) -> float:
    """Return the least epsilon over all data for `s = ratio`, k draws and delta, both orders."""
    epsilon = wishart.epsilon_of([worst_gap(ratio, ridge=ridge)], degrees, delta)
    while delta_of(ratio, degrees, epsilon, ridge=ridge) > delta:
        epsilon = 1.01 * epsilon + 1e-6
    return epsilon


def renyi(ratio: float, degrees: int, *, ridge: bool = True) -> rdp.Curve:
    """Return the largest Renyi divergence over all data, for composition; this worst case is proved."""
    return wishart.renyi([worst_gap(ratio, ridge=ridge)], degrees)


def radius(epsilon: float, delta: float, degrees: int, *, ridge: bool = True, proved: bool = False) -> float:
    """Return the largest `s = beta / sqrt(eta)` that (epsilon, delta) allows with k draws.

    Args:
        epsilon: above 0.
        delta: in (0, 1).
        degrees: k.
        ridge: whether a public ridge keeps the floor under both data sets.
        proved: account by Renyi divergence, whose worst case is proved, at some 10 per cent of the radius.

    Raises:
        BadInput: if an argument is out of range.

    Example:
        >>> round(radius(1.0, 1e-5, 1024, ridge=False), 5)
        0.0056
    """
    budget(epsilon, delta)
    at_least_one("degrees", degrees)

    def excess(u: float) -> float:
        s = math.exp(u) if ridge else 1 / (1 + math.exp(-u))
        if proved:
            return rdp.epsilon(renyi(s, degrees, ridge=ridge), delta) - epsilon
        return _end(s, degrees, epsilon, ridge) - delta

    low, high = -1.0, 0.0
    while excess(low) > 0:
        low -= 2
    while excess(high) <= 0:
        high += 2
    u = float(brentq(excess, low, high, xtol=1e-12)) - 1e-10
    s = math.exp(u) if ridge else 1 / (1 + math.exp(-u))
    while delta_of(s, degrees, epsilon, ridge=ridge) > delta:
        s *= 0.99
    return s


def frontier(ratio: float, points: int = 65, *, ridge: bool = True) -> Array:
    """Return gaps (points, 2) of the extreme pairs of eigenvalues; see the module.

    Args:
        ratio: s.
        points: how many, evenly spaced along the smaller root, ends included.
        ridge: as above.
    """
    s = positive("ratio", ratio)
    if not ridge:
        low = np.linspace(1 - s, 1, points)
        return np.stack([low**2 - 1, (low + s) ** 2 - 1], 1)
    # The two pieces meet where the roots are reciprocal: r - 1/r = s.
    middle = (math.sqrt(s * s + 4) - s) / 2
    low = np.unique(np.concatenate([np.linspace(1 / (1 + s), 1, points), [middle]]))
    high = np.where(low >= middle, low + s, 1 / np.maximum(1 / low - s, 1e-300))
    return np.stack([low**2 - 1, high**2 - 1], 1)


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
    """Return the largest s that M <= Delta certifies, `sqrt(1 + Delta) - 1`.

    M is the larger Frobenius norm of `S2^-1/2 S1 S2^-1/2 - I` and of the same with the roles exchanged;
    over all data with a ridge it is at most `(1+s)^2 - 1`. This is kinder to the condition than the
    cruder sensitivity `2 sqrt(n) B beta / eta` of the papers.
    """
    cap = published_cap(epsilon, delta, degrees)
    return cap / (math.sqrt(1 + cap) + 1)
