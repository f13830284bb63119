"""A polynomial on an interval, in the Chebyshev basis: what takes the place of a non-linearity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from unmask.errors import BadInput

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """p(x) = sum_k c_k T_k(t), where t = (2 x - lo - hi) / (hi - lo) takes the interval to [-1, 1].

    The Chebyshev basis is what keeps a high degree exact in finite precision, in clear and encrypted.

    Args:
        coefficients: c_0 to c_d; the degree is their number less one.
        interval: (lo, hi), where it may be used. Outside of it a polynomial explodes.
        error: largest error on the interval against what it approximates; NaN if nobody certified one.
        approximates: what it stands for, such as `gelu`; empty if it stands for itself.

    Raises:
        BadInput: if there is no coefficient, one is not finite, or the interval is empty.

    Example:
        >>> square = Polynomial(coefficients=(0.5, 0.0, 0.5), interval=(-1.0, 1.0))
        >>> float(square(np.array(0.5)))
        0.25
    """

    coefficients: tuple[float, ...]
    interval: tuple[float, float]
    error: float = field(default=nan)
    approximates: str = field(default="")

    def __post_init__(self) -> None:
        if not self.coefficients or not all(isfinite(value) for value in self.coefficients):
            raise BadInput("coefficients", self.coefficients, "are missing or not finite", "give at least one number")
        low, high = self.interval
        if not (isfinite(low) and isfinite(high) and low < high):
            raise BadInput("interval", self.interval, "is empty or not finite", "give low < high")

    @property
    def degree(self) -> int:
        """The degree, counting trailing zeros."""
        return len(self.coefficients) - 1

    def __call__(self, x: Array) -> Array:
        """Return p(x) by Clenshaw's recurrence, for any shape."""
        low, high = self.interval
        return np.asarray(chebyshev.chebval((2.0 * x - low - high) / (high - low), np.array(self.coefficients)))

    def outside(self, x: Array) -> float:
        """Return how far the farthest entry of x lies outside the interval; 0 if none does."""
        low, high = self.interval
        return float(max(0.0, np.max(x) - high, low - np.min(x))) if np.size(x) else 0.0

    def monomials(self) -> Array:
        """Return the coefficients a_k of p(x) = sum_k a_k x^k, for low degrees only: they cancel in high ones."""
        low, high = self.interval
        series = chebyshev.Chebyshev(np.array(self.coefficients), domain=[low, high])
        return np.asarray(series.convert(kind=np.polynomial.Polynomial).coef)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        plain: dict[str, Any] = {"coefficients": list(self.coefficients), "interval": list(self.interval)}
        return plain | {"error": self.error if isfinite(self.error) else None, "approximates": self.approximates}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Polynomial":
        """Return what `to_json` wrote.

        Raises:
            BadInput: if a field is missing or of the wrong kind.
        """
        try:
            low, high = (float(end) for end in data["interval"])
            error = nan if data.get("error") is None else float(data["error"])
            values = tuple(float(value) for value in data["coefficients"])
        except (KeyError, TypeError, ValueError) as wrong:
            rule = f"is no polynomial ({wrong})"
            raise BadInput("polynomial", dict(data), rule, "give coefficients and interval") from wrong
        named = str(data.get("approximates", ""))
        return cls(coefficients=values, interval=(low, high), error=error, approximates=named)
