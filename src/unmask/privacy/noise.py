"""Calibrated Gaussian noise as the mechanisms use it: continuous, or exact on a grid."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.privacy import gaussian, renyi
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
        rounded = self.sensitivity + self.grid * math.sqrt(self.entries)
        return math.ceil(rounded / math.sqrt(2 * renyi.rho_for(self.epsilon, self.delta)) / self.grid) * self.grid

    @property
    def accountant(self) -> str:
        """Name of what computed sigma."""
        return "analytic Gaussian" if self.grid is None else "zCDP of the discrete Gaussian"

    @property
    def arithmetic(self) -> str:
        """`real` or `exact`, see `Claim`."""
        return "real" if self.grid is None else "exact"

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
        whole = np.rint(values / self.grid)
        if whole.size and float(np.abs(whole).max()) >= 2.0**52:
            raise BadInput("grid", self.grid, "is too fine: values over it pass 2^52", "take a coarser grid")
        variance = Fraction(round(self.sigma / self.grid)) ** 2
        return (whole.astype(np.int64) + randomness.discrete_normal(values.shape, variance)) * self.grid


def clip_rows(rows: Array, norm: float) -> Array:
    """Return rows (..., d) scaled down to at most this L2 norm: the projection onto a ball, which moves none apart."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: Array = rows * (norm / np.maximum(lengths, norm))
    return result
