"""Best uniform approximation by Remez' exchange, in a Chebyshev basis with or without parity.

The even T_k, and the odd ones away from 0, are Haar systems on the half interval: so an even or odd function is
fitted with half the unknowns, on half the interval, and its fit has its symmetry exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.poly.certify import runs
from unmask.poly.polynomial import Array

Indices = NDArray[np.int64]

GRID, ROUNDS, TOLERANCE = 48, 60, 1e-4


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Where the exchange ended.

    Args:
        coefficients: (degree + 1,), of T_0 to T_degree.
        levelled: the error of the best fit on the reference, a lower bound of the best error.
        largest: largest error on the grid.
        rounds: number of exchanges.
    """

    coefficients: Array
    levelled: float
    largest: float
    rounds: int


def remez(
    function: Callable[[Array], Array],
    degree: int,
    *,
    parity: int | None = None,
    start: float = -1.0,
    kinks: tuple[float, ...] = (),
    weight: Callable[[Array], Array] | None = None,
) -> Exchange:
    """Return the fit on [start, 1] of least largest weighted error.

    Args:
        function: of t.
        degree: highest T_k.
        parity: 0 or 1 to use even or odd T_k only; the interval then starts at 0 or above.
        start: lower end.
        kinks: places that belong in the grid.
        weight: positive function that multiplies the error.

    Raises:
        BadInput: if the exchange does not settle: the error is below what float64 resolves.
    """
    indices = np.arange(degree + 1) if parity is None else np.arange(parity, degree + 1, 2)
    grid = _grid(start, parity, GRID * (degree + 2), kinks)
    values = function(grid)
    scale = np.ones_like(grid) if weight is None else weight(grid)
    reference = _first(grid, len(indices) + 1, start, parity)
    best: Exchange | None = None
    for done in range(1, ROUNDS + 1):
        found, level = _solve(grid[reference], values[reference], scale[reference], indices)
        errors = scale * (values - _basis(grid, indices) @ found)
        largest = float(np.abs(errors).max())
        if best is None or largest < best.largest:
            padded = np.zeros(degree + 1)
            padded[indices] = found
            best = Exchange(coefficients=padded, levelled=abs(level), largest=largest, rounds=done)
        noise = 64 * np.finfo(np.float64).eps * float(np.abs(values * scale).max())
        if largest - abs(level) <= TOLERANCE * largest + noise:
            break
        exchanged = _exchange(errors, reference, len(indices) + 1)
        if np.array_equal(exchanged, reference):
            break
        reference = exchanged
    assert best is not None
    if not np.isfinite(best.largest):
        raise BadInput("degree", degree, "is too high for float64 here", "give a lower one")
    return best


def _grid(start: float, parity: int | None, count: int, kinks: tuple[float, ...]) -> Array:
    # Dense towards the ends, as the extrema are. With parity 0 is no end: the extrema there are spread evenly.
    if parity is not None and start == 0:
        points = np.sin(np.linspace(0, np.pi / 2, count))
        points = points[1:] if parity else points
    else:
        points = (1 + start) / 2 - (1 - start) / 2 * np.cos(np.linspace(0, np.pi, count))
    return np.unique(np.concatenate([points, np.array(kinks, dtype=np.float64)]))


def _first(grid: Array, count: int, start: float, parity: int | None) -> Indices:
    if parity is None:
        wanted = -np.cos(np.linspace(0, np.pi, count)) * (1 - start) / 2 + (1 + start) / 2
    else:
        low = start**2
        angles = np.linspace(0, np.pi, count) if start > 0 or parity == 0 else (np.arange(count) + 0.5) / count * np.pi
        wanted = np.sqrt(low + (1 - low) * (1 - np.cos(angles)) / 2)
    places = np.searchsorted(grid, wanted).clip(0, len(grid) - 1)
    # The grid is much finer than the reference, so that no two share a place.
    return np.unique(places)


def _basis(t: Array, indices: Indices) -> Array:
    return np.asarray(np.cos(np.arccos(np.clip(t, -1, 1))[:, None] * indices))


def _solve(t: Array, values: Array, scale: Array, indices: Indices) -> tuple[Array, float]:
    signs = (-1.0) ** np.arange(len(t))
    system = np.column_stack([_basis(t, indices), signs / scale])
    solution = np.asarray(np.linalg.lstsq(system, values, rcond=None)[0], dtype=np.float64)
    return solution[:-1], float(solution[-1])


def _exchange(errors: Array, reference: Indices, count: int) -> Indices:
    places, peaks = runs(errors)
    if len(places) < count:
        # Rounding hides a change of sign: put in the one worst point, as in the single exchange.
        return _single(errors, reference)
    while len(places) > count:
        if len(places) == count + 1:
            drop = [0] if abs(peaks[0]) < abs(peaks[-1]) else [len(places) - 1]
        else:
            # Neighbours have opposite signs: taking out two keeps the alternation.
            pair = int(np.argmin(np.maximum(np.abs(peaks[:-1]), np.abs(peaks[1:]))))
            drop = [pair, pair + 1]
        places, peaks = np.delete(places, drop), np.delete(peaks, drop)
    return places


def _single(errors: Array, reference: Indices) -> Indices:
    worst = int(np.argmax(np.abs(errors)))
    changed = reference.copy()
    after = int(np.searchsorted(reference, worst))
    near = [place for place in (after - 1, after) if 0 <= place < len(reference)]
    same = [place for place in near if np.sign(errors[reference[place]]) == np.sign(errors[worst])]
    changed[(same or near)[0]] = worst
    return np.unique(changed)
