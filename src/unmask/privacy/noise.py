"""Calibrated Gaussian noise as the mechanisms use it: continuous, or exact on a grid."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.privacy import gaussian, renyi
from unmask.privacy.budget import Spent
from unmask.privacy.checks import at_least_one, budget, positive
from unmask.privacy.sampling import Randomness

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Noise that makes an array of known L2 sensitivity (epsilon, delta)-private.

    Continuous (`grid=None`): sigma by the exact profile of Balle and Wang. It is a statement about real
    numbers: which float64 values `x + noise` can take depends on x, so the last bits may tell more.

    On a grid of step h: `h (round(x/h) + N_Z(0, (sigma/h)^2))` in integers, drawn exactly. Rounding moves each
    of the `entries` by at most h/2, so the sensitivity becomes `D + h sqrt(entries)`; the discrete Gaussian
    satisfies `rho = D^2 / (2 sigma^2)` zCDP, from which (epsilon, delta) follows. Nothing is lost to floats.

    Args:
        epsilon: above 0.
        delta: in (0, 1).
        sensitivity: largest L2 distance between neighbours, all releases together.
        entries: numbers that a change of one unit may change, all releases together; used on a grid only.
        grid: step h, or None.

    Raises:
        BadInput: if one is out of range.
    """

    epsilon: float
    delta: float
    sensitivity: float
    entries: int = field(default=1)
    grid: float | None = field(default=None)

    def __post_init__(self) -> None:
        budget(self.epsilon, self.delta)
        positive("sensitivity", self.sensitivity)
        at_least_one("entries", self.entries)
        if self.grid is not None:
            positive("grid", self.grid)

    @cached_property
    def sigma(self) -> float:
        """Standard deviation of each entry; on a grid a whole multiple of its step."""
        if self.grid is None:
            return gaussian.calibrate(self.epsilon, self.delta, self.sensitivity)
        # Clipping in floats may leave a norm above its bound by some units in the last place.
        rounded = self.sensitivity * (1 + 1e-12) + self.grid * math.sqrt(self.entries)
        return math.ceil(rounded / math.sqrt(2 * renyi.rho_for(self.epsilon, self.delta)) / self.grid) * self.grid

    @property
    def accountant(self) -> str:
        """Name of what computed sigma."""
        return "analytic Gaussian" if self.grid is None else "zCDP of the discrete Gaussian"

    @property
    def arithmetic(self) -> str:
        """`real` or `exact`, see `Claim`."""
        return "real" if self.grid is None else "exact"

    def spent(self, name: str) -> Spent:
        """Return what a ledger has to enter: mu of the continuous noise, or rho as a curve on a grid."""
        if self.grid is None:
            return Spent(name=name, mu=self.sensitivity / self.sigma)
        return Spent(name=name, curve=renyi.gaussian(renyi.rho_for(self.epsilon, self.delta)))

    def add(self, values: Array, randomness: Randomness) -> Array:
        """Return the values with noise on every entry.

        Args:
            values: of any shape.
            randomness: source of the noise.

        Raises:
            BadInput: if the grid is too fine for the size of the values.
        """
        if self.grid is None:
            return values + self.sigma * randomness.normal(values.shape)
        return self._on_grid(self._whole(values, self.grid), randomness, self.grid)

    def add_to_sum(self, terms: Array, randomness: Randomness) -> Array:
        """Return the sum over the second last axis with noise, on the grid.

        Each term is rounded before the sum, so the sum is one of integers: the terms of the records that
        neighbours share contribute the same to both, and no order of summation tells one from the other.

        Args:
            terms: (..., n, m), one row per record.
            randomness: source of the noise.

        Raises:
            BadInput: if there is no grid, or it is too fine.
        """
        if self.grid is None:
            raise BadInput("grid", None, "is missing", "give a step, or sum first and call add")
        return self._on_grid(self._whole(terms, self.grid).sum(-2), randomness, self.grid)

    def _whole(self, values: Array, grid: float) -> NDArray[np.int64]:
        whole = np.rint(values / grid)
        if whole.size and float(np.abs(whole).sum()) >= 2.0**52:
            raise BadInput("grid", grid, "is too fine: values over it pass 2^52", "take a coarser grid")
        return np.asarray(whole, dtype=np.int64)

    def _on_grid(self, whole: NDArray[np.int64], randomness: Randomness, grid: float) -> Array:
        variance = Fraction(round(self.sigma / grid)) ** 2
        return np.asarray((whole + randomness.discrete_normal(whole.shape, variance)) * grid, dtype=np.float64)


def clip_rows(rows: Array, norm: float) -> Array:
    """Return rows (..., d) scaled down to at most this L2 norm: the projection onto a ball, which moves none apart."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: Array = rows * (norm / np.maximum(lengths, norm))
    return result
