"""The functions that polynomials take the place of, and how large each is beside the real line.

How fast the best polynomial of degree n converges is governed by how large the function is on the ellipses with foci
at the interval's ends. That bound is what makes a certificate out of finitely many samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, inf, pi, sin, sqrt
from types import MappingProxyType

import numpy as np
from scipy.special import expit, ndtr

from unmask.errors import BadInput
from unmask.poly.polynomial import Array

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A function of one real variable.

    Args:
        name: as the command line takes it.
        function: its values.
        bound: (lo, hi, r) to an upper bound of |f(z)| for z on the ellipse through c + h cosh(r), with foci lo and
            hi, centre c and half-width h; infinite where f is not analytic inside. None for piecewise linear f.
        parity: 0 if f less its `line` is even, 1 if odd, None if neither.
        line: (constant, slope) that parity is meant without.
        above: the interval has to lie above this.
        kinks: where f is not smooth.
    """

    name: str
    function: Callable[[Array], Array]
    bound: Callable[[float, float, float], float] | None
    parity: int | None = None
    line: tuple[float, float] = (0.0, 0.0)
    above: float = -inf
    kinks: tuple[float, ...] = field(default=())

    def __call__(self, x: Array) -> Array:
        """Return f(x)."""
        return self.function(np.asarray(x, dtype=np.float64))

    def checked(self, interval: Interval) -> Interval:
        """Return the interval if f is defined on it.

        Raises:
            BadInput: if it is not, or the interval is empty.
        """
        low, high = interval
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise BadInput("interval", interval, "is empty or not finite", "give low < high")
        if low <= self.above:
            raise BadInput(
                "interval",
                interval,
                f"reaches {self.above:g} or below, where {self.name} has no value",
                "start it above",
            )
        return float(low), float(high)


def target(name: str) -> Target:
    """Return a target by its name.

    Raises:
        BadInput: if there is none.
    """
    if name not in TARGETS:
        raise BadInput("function", name, "is unknown", f"name one of: {', '.join(TARGETS)}")
    return TARGETS[name]


def _axes(low: float, high: float, r: float) -> tuple[float, float, float, float]:
    # Leftmost and rightmost real part, largest imaginary part, largest modulus.
    centre, half = (low + high) / 2, (high - low) / 2
    reach, height = half * np.cosh(r), half * np.sinh(r)
    return centre - reach, centre + reach, height, max(abs(centre - reach), abs(centre + reach), height + abs(centre))


def _gelu(low: float, high: float, r: float) -> float:
    # Phi(x + i y) is an integral of phi(t + i y) over t <= x, and |phi(t + i y)| = phi(t) e^(y^2 / 2).
    _, _, height, modulus = _axes(low, high, r)
    return modulus * exp(height**2 / 2) if height < 35 else inf


def _sigmoid(low: float, high: float, r: float) -> float:
    # |1 + e^-z|^2 = 1 + 2 e^-x cos y + e^-2x, at least 1 for |y| <= pi/2 and sin^2 y beyond; poles at +- i pi.
    _, _, height, _ = _axes(low, high, r)
    return 1.0 if height <= pi / 2 else 1 / sin(height) if height < pi else inf


def _silu(low: float, high: float, r: float) -> float:
    return _axes(low, high, r)[3] * _sigmoid(low, high, r)


def _tanh(low: float, high: float, r: float) -> float:
    return 1 + 2 * _sigmoid(2 * low, 2 * high, r)


def _exp(low: float, high: float, r: float) -> float:
    return exp(min(_axes(low, high, r)[1], 700.0))


def _inverse(low: float, high: float, r: float) -> float:
    # The point of the ellipse nearest to 0, which lies on its axis, is the vertex.
    left = _axes(low, high, r)[0]
    return 1 / left if left > 0 else inf


def _inverse_sqrt(low: float, high: float, r: float) -> float:
    return sqrt(_inverse(low, high, r))


def _cosine(low: float, high: float, r: float) -> float:
    return float(np.cosh(min(_axes(low, high, r)[2], 700.0)))


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        found.name: found
        for found in (
            Target(name="gelu", function=lambda x: x * ndtr(x), bound=_gelu, parity=0, line=(0.0, 0.5)),
            Target(name="silu", function=lambda x: x * expit(x), bound=_silu, parity=0, line=(0.0, 0.5)),
            Target(
                name="relu",
                function=lambda x: np.maximum(x, 0),
                bound=None,
                parity=0,
                line=(0.0, 0.5),
                kinks=(0.0,),
            ),
            Target(name="abs", function=np.abs, bound=None, parity=0, kinks=(0.0,)),
            Target(name="sigmoid", function=expit, bound=_sigmoid, parity=1, line=(0.5, 0.0)),
            Target(name="tanh", function=np.tanh, bound=_tanh, parity=1),
            Target(name="exp", function=np.exp, bound=_exp),
            Target(name="cos", function=np.cos, bound=_cosine, parity=0),
            Target(name="inverse", function=lambda x: 1 / x, bound=_inverse, above=0.0),
            Target(name="inverse-sqrt", function=lambda x: x**-0.5, bound=_inverse_sqrt, above=0.0),
        )
    }
)
"""Name to target."""
