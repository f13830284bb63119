"""Upper and lower bounds on a polynomial's error, from finitely many samples.

Upper bound. On an ellipse of parameter r around the interval let |f| <= M. Then some polynomial f_n of degree n has
|f - f_n| <= R = 2 M e^(-r n) / (e^r - 1) on the interval. For n at least the degree of p, f_n - p is a polynomial of
degree n, and one of degree n is nowhere larger than its largest value on m > n Chebyshev nodes over cos(pi n / 2m)
(Ehlich and Zeller 1964). So |f - p| <= R + (largest sample + R) / cos(pi n / 2m). Nothing is assumed of the samples;
an allowance for their float64 rounding is added. Functions with kinks are taken piece by piece.

Lower bound. If f - p alternates in sign on d + 2 points, no polynomial of degree d has an error below the least
absolute value of f - p there (de la Vallee-Poussin 1910).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import cos, exp, inf, pi

import numpy as np
from numpy.typing import NDArray

from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.targets import Interval, Target

OVERSAMPLING = 64
"""Chebyshev nodes per degree: costs a factor 1/cos(pi/128), 0.03 per cent."""
_RADII = np.geomspace(1e-4, 6.0, 120)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is known of the error of p.

    Args:
        upper: no error on the interval is above this.
        sampled: largest sample.
        samples: how many.
        lower: no polynomial of the same degree has a smaller largest error; 0 if the samples do not show one.
    """

    upper: float
    sampled: float
    samples: int
    lower: float

    @property
    def ratio(self) -> float:
        """How many times the best polynomial's error p has at most."""
        return self.upper / self.lower if self.lower > 0 else inf


def certificate(polynomial: Polynomial, target: Target) -> Certificate:
    """Return bounds on the error of a polynomial on its interval.

    Args:
        polynomial: p.
        target: f.

    Raises:
        BadInput: if f is not defined on the interval.
    """
    low, high = target.checked(polynomial.interval)
    ends = (low, *(kink for kink in target.kinks if low < kink < high), high)
    upper, slack, nodes = 0.0, 0.0, []
    for piece in pairwise(ends):
        bound, rounding, points = _piece(polynomial, target, piece)
        upper, slack = max(upper, bound), max(slack, rounding)
        nodes.append(points)
    x = np.unique(np.concatenate([*nodes, np.array(ends)]))
    errors = target(x) - polynomial(x)
    lower = max(0.0, alternation(errors, polynomial.degree + 2) - slack)
    return Certificate(upper=upper, sampled=float(np.abs(errors).max()), samples=len(x), lower=lower)


def remainder(target: Target, interval: Interval, degree: int) -> float:
    """Return an upper bound on the error of the best polynomial of a degree, by the best of many ellipses.

    Args:
        target: f; 0 if it is piecewise linear, since a piece is its own polynomial.
        interval: without a kink inside.
        degree: n.
    """
    if target.bound is None:
        return 0.0
    best = inf
    for r in _RADII:
        size = target.bound(*interval, float(r))
        if size < 1e300:
            best = min(best, 2 * size * exp(-r * degree) / np.expm1(r))
    return float(best)


def alternation(errors: Array, count: int) -> float:
    """Return the largest e such that the errors alternate between at least e and at most -e on `count` points.

    Args:
        errors: (samples,), f - p in the order of x.
        count: number of points.
    """
    _, peaks = runs(errors)
    sizes = np.abs(peaks)
    # Taking out the smallest peak joins its two neighbours, of one sign, into one; at an end it just goes.
    while len(sizes) > count:
        index = int(np.argmin(sizes))
        if index in (0, len(sizes) - 1):
            sizes = np.delete(sizes, index)
        elif len(sizes) - 2 >= count:
            joined = max(sizes[index - 1], sizes[index + 1])
            sizes = np.concatenate([sizes[: index - 1], [joined], sizes[index + 2 :]])
        else:
            sizes = sizes[1:] if sizes[0] < sizes[-1] else sizes[:-1]
    return float(sizes.min()) if len(sizes) == count else 0.0


def runs(errors: Array) -> tuple[NDArray[np.int64], Array]:
    """Return place and value of the largest error in each run of one sign.

    Args:
        errors: (samples,).
    """
    signs = np.sign(errors)
    used = np.flatnonzero(signs)
    if not len(used):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    cuts = np.flatnonzero(np.diff(signs[used])) + 1
    places = np.array([group[np.argmax(np.abs(errors[group]))] for group in np.split(used, cuts)])
    return places, errors[places]


def _piece(polynomial: Polynomial, target: Target, piece: Interval) -> tuple[float, float, Array]:
    degree = max(polynomial.degree, 1)
    size = float(np.max(np.abs(target(np.array(piece)))))
    rest = remainder(target, piece, degree)
    while rest > 1e-15 * max(size, 1e-30) and degree < 2**13:
        degree *= 2
        rest = remainder(target, piece, degree)
    count = OVERSAMPLING * degree
    low, high = piece
    x = (low + high) / 2 - (high - low) / 2 * np.cos(pi * (np.arange(count) + 0.5) / count)
    exact = target(x)
    largest = float(np.max(np.abs(exact - polynomial(x))))
    # Clenshaw's recurrence and scipy's functions are right to a few units in the last place of what they sum.
    summed = float(np.abs(exact).max()) + float(np.abs(polynomial.coefficients).sum())
    rounding = 8 * float(np.finfo(np.float64).eps) * summed
    return rest + (largest + rounding + rest) / cos(pi * degree / (2 * count)), rounding, x
