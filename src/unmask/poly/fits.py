"""Polynomials for the functions of a transformer: best uniform, interpolated, or best for measured inputs."""

from dataclasses import replace

import numpy as np
from numpy.polynomial import chebyshev

from unmask.errors import BadInput
from unmask.poly.certify import certificate
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.remez import remez
from unmask.poly.targets import Interval, Target, target

HIGHEST, BINS = 511, 8192
"""Largest degree; samples beyond this number are gathered in as many bins."""


def minimax(name: str, interval: Interval, degree: int) -> Polynomial:
    """Return the polynomial whose largest error on the interval is least, with its certified error.

    An even or odd function on a symmetric interval gets an even or odd fit, up to the line that it is even or odd
    without: GELU less x/2 is even.

    Args:
        name: of the function, such as `gelu`.
        interval: (lo, hi).
        degree: 1 to 511.

    Raises:
        BadInput: if the function is unknown, not defined on the interval, or the degree out of range.

    Example:
        >>> round(minimax("gelu", (-4.0, 4.0), 8).error, 4)
        0.0073

    Source:
        Remez 1934; the certificate is explained in `certify`.
    """
    wanted, (low, high) = _checked(name, interval, degree)
    centre, half = (low + high) / 2, (high - low) / 2
    constant, slope = wanted.line

    def rest(t: Array) -> Array:
        x = centre + half * t
        return wanted(x) - constant - slope * x

    parity = wanted.parity if centre == 0 else None
    kinks = tuple((kink - centre) / half for kink in wanted.kinks if low < kink < high and parity is None)
    found = remez(rest, degree, parity=parity, start=-1.0 if parity is None else 0.0, kinks=kinks).coefficients
    found[0] += constant + slope * centre
    found[1] += slope * half
    return _certified(found, (low, high), wanted)


def interpolated(name: str, interval: Interval, degree: int) -> Polynomial:
    """Return the interpolant at the Chebyshev nodes: nearly the best fit, and quick at any degree.

    Args:
        name: of the function.
        interval: (lo, hi).
        degree: 1 to 511.

    Raises:
        BadInput: as `minimax`.
    """
    wanted, (low, high) = _checked(name, interval, degree)
    centre, half = (low + high) / 2, (high - low) / 2
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    # The nodes are the roots of T_{d+1}, on which the T_k are orthogonal.
    found = 2 / (degree + 1) * chebyshev.chebvander(nodes, degree).T @ wanted(centre + half * nodes)
    found[0] /= 2
    return _certified(found, (low, high), wanted)


def weighted(
    name: str, interval: Interval, degree: int, samples: Array, *, floor: float = 0.05, relative: bool = False
) -> Polynomial:
    """Return the polynomial of least mean squared error on measured inputs.

    A share of the weight is spread over the whole interval, so that the fit stays tame where no sample fell; the
    certified error is still that of the whole interval.

    Args:
        name: of the function.
        interval: (lo, hi).
        degree: 1 to 511.
        samples: inputs that were measured, any shape.
        floor: share of the weight that is spread, with the Chebyshev density.
        relative: whether errors are divided by the function, which must not be zero.

    Raises:
        BadInput: as `minimax`, or if a sample lies outside, there is none, or `floor` is no share.
    """
    wanted, (low, high) = _checked(name, interval, degree)
    flat = np.asarray(samples, dtype=np.float64).ravel()
    if not 0 < floor <= 1:
        raise BadInput("floor", floor, "is not in (0, 1]", "give a share such as 0.05")
    if not len(flat) or not np.all(np.isfinite(flat)) or flat.min() < low or flat.max() > high:
        raise BadInput("samples", flat, f"are missing, not finite, or outside {interval}", "widen the interval")
    centre, half = (low + high) / 2, (high - low) / 2
    spread = np.cos(np.pi * (np.arange(8 * degree + 8) + 0.5) / (8 * degree + 8))
    places, counts = _binned((flat - centre) / half)
    t = np.concatenate([places, spread])
    root = np.sqrt(np.concatenate([(1 - floor) * counts / counts.sum(), np.full(len(spread), floor / len(spread))]))
    values = wanted(centre + half * t)
    root = root / np.abs(values) if relative else root
    # R of the rows with their values beside them has the same least squares and only degree + 2 rows.
    rows = np.column_stack([chebyshev.chebvander(t, degree), values]) * root[:, None]
    small = np.asarray(np.linalg.qr(rows, mode="r"))
    found = np.linalg.lstsq(small[:, :-1], small[:, -1], rcond=None)[0]
    return _certified(found, (low, high), wanted)


def _binned(t: Array) -> tuple[Array, Array]:
    """Return places in [-1, 1] and how many samples each stands for: themselves where they are few."""
    if len(t) <= BINS:
        return t, np.ones(len(t))
    bins = np.clip(((t + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS).astype(np.float64)
    sums = np.bincount(bins, weights=t, minlength=BINS)
    used = counts > 0
    return sums[used] / counts[used], counts[used]


METHODS = {"minimax": minimax, "chebyshev": interpolated}
"""Ways to fit that need no samples."""


def _certified(coefficients: Array, interval: Interval, wanted: Target) -> Polynomial:
    plain = Polynomial(
        coefficients=tuple(float(value) for value in coefficients), interval=interval, approximates=wanted.name
    )
    return replace(plain, error=certificate(plain, wanted).upper)


def _checked(name: str, interval: Interval, degree: int) -> tuple[Target, Interval]:
    wanted = target(name)
    if not 1 <= degree <= HIGHEST:
        raise BadInput("degree", degree, f"is not in 1 to {HIGHEST}", "give one in between")
    return wanted, wanted.checked(interval)
