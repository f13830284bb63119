"""The sign function as a composition of low-degree odd polynomials, and what is built from it.

One polynomial that is near sign(x) for |x| >= epsilon needs a degree of order 1/epsilon; a composition needs order
log(1/epsilon) products. Each stage is the best odd fit of the constant 1 to where the stage before leaves its values,
which is optimal for given degrees (Lee et al. 2022). Where a stage's values lie is certified (`ranges.bounds`), so
the error of the whole is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import ndtr

from unmask.errors import BadInput
from unmask.poly.fits import minimax
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.program import programs
from unmask.poly.ranges import bounds
from unmask.poly.remez import remez

DEGREES = (3, 5, 7, 9, 15, 31)
"""Degrees a stage may have."""


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A composition that is near sign(x) for epsilon <= |x| <= 1.

    Args:
        stages: odd polynomials, the first is applied first.
        epsilon: where it begins to be right.
        error: largest error there.
        overshoot: bound of |s(x)| for every |x| <= 1.
    """

    stages: tuple[Polynomial, ...]
    epsilon: float
    error: float
    overshoot: float

    def __call__(self, x: Array) -> Array:
        """Return s(x) for |x| <= 1."""
        for stage in self.stages:
            x = stage(x)
        return x

    @property
    def depth(self) -> int:
        """Levels: each stage's input map is folded into the stage before."""
        return sum(programs(stage)[0].depth for stage in self.stages)

    @property
    def products(self) -> int:
        """Ciphertext products."""
        return sum(programs(stage)[0].products for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """GELU or ReLU on [-radius, radius] from signs.

    ReLU is x (1 + s(x / radius)) / 2. GELU is ReLU(x - c) + p(clip(x)), where clip(x) = (|x + c| - |x - c|) / 2 keeps
    to [-c, c] and p is a fit of GELU there: GELU is ReLU up to c Phi(-c) outside.

    Args:
        name: `relu` or `gelu`.
        radius: of the interval.
        sign: the composition.
        inner: p, for GELU.
        cut: c, for GELU.
        error: largest error on the interval.
    """

    name: str
    radius: float
    sign: Sign
    inner: Polynomial | None
    cut: float
    error: float

    def __call__(self, x: Array) -> Array:
        """Return the gate of x."""
        if self.inner is None:
            return (x + self._size(x, self.radius)) / 2
        wide = self.radius + self.cut
        right, left = self._size(x - self.cut, wide), self._size(x + self.cut, wide)
        return (x - self.cut + right) / 2 + self.inner((left - right) / 2)

    @property
    def depth(self) -> int:
        """Levels: the sign, a product with x, and for GELU the fit."""
        return self.sign.depth + 1 + (0 if self.inner is None else programs(self.inner)[0].depth)

    @property
    def products(self) -> int:
        """Ciphertext products; GELU takes two signs."""
        one = self.sign.products + 1
        return one if self.inner is None else 2 * one + programs(self.inner)[0].products

    def _size(self, x: Array, radius: float) -> Array:
        return x * self.sign(x / radius)


def sign(epsilon: float, error: float, *, degrees: Sequence[int] | None = None) -> Sign:
    """Return a composition that is within `error` of the sign for |x| in [epsilon, 1].

    Args:
        epsilon: in (0, 1).
        error: in (0, 1).
        degrees: of the stages; by default those of least depth, then of fewest products.

    Raises:
        BadInput: if an argument is out of range, or the given degrees do not reach the error.

    Example:
        >>> found = sign(0.01, 1e-3)
        >>> bool(abs(found(np.array(0.5)) - 1) <= 1e-3)
        True

    Source:
        Lee, Lee, No 2022, minimax approximation of the sign by composite polynomials.
    """
    if not 0 < epsilon < 1 or not 1e-12 < error < 1:
        raise BadInput("epsilon, error", (epsilon, error), "are not in (0, 1)", "give such as 0.01 and 1e-3")
    used = _best(epsilon, error) if degrees is None else tuple(degrees)
    stages, low, high = [], epsilon, 1.0
    for degree in used:
        stage = _stage(low / high, degree)
        stage = Polynomial(coefficients=stage.coefficients, interval=(-high, high), approximates="sign")
        stages.append(stage)
        # On [0, low] the stage rises: all its d - 1 turning points are the extrema of the error on [low, high], d odd,
        # and their mirror images. So nothing overshoots there.
        low, high = bounds(stage, degree, (low, high), oversampling=64)
    reached = max(1 - low, high - 1)
    if reached > error:
        rule = f"reach {reached:.2e}, above {error:g}"
        raise BadInput("degrees", used, rule, "give more or higher ones, or leave it out")
    return Sign(stages=tuple(stages), epsilon=epsilon, error=reached, overshoot=high)


def relu(radius: float, error: float) -> Gate:
    """Return ReLU from signs, within `error` on [-radius, radius].

    For |x| >= epsilon r the error is at most r e / 2. Nearer to 0, where s has the sign of x and is at most
    1 + e, it is at most epsilon r / 2.

    Args:
        radius: above 0.
        error: absolute, above 0 and below the radius.

    Raises:
        BadInput: if an argument is out of range.
    """
    _checked(radius, error)
    near = min(2 * error / radius, 0.5)
    found = sign(near, near)
    worst = radius / 2 * max(found.error, found.epsilon)
    return Gate(name="relu", radius=radius, sign=found, inner=None, cut=0.0, error=worst)


def gelu(radius: float, error: float) -> Gate:
    """Return GELU from signs and one fit, within `error` on [-radius, radius].

    Args:
        radius: 4 or more: below, one polynomial is cheaper.
        error: absolute, above 0.

    Raises:
        BadInput: if an argument is out of range.
    """
    _checked(radius, error)
    cut = 2.0
    while cut * ndtr(-cut) > error / 4:
        cut += 0.25
    if radius < cut:
        raise BadInput("radius", radius, f"is below {cut:g}, where GELU is not yet a line", "fit one polynomial")
    wide = radius + cut
    # |x| s(x) is off by A, as in `relu`; ReLU by A / 2, the clipped value by A, and GELU rises by at most 1.129.
    near = min(0.3 * error / wide, 0.5)
    found = sign(near, near)
    off = wide * max(found.error, found.epsilon)
    reach = cut + off
    degree = 4
    inner = minimax("gelu", (-reach, reach), degree)
    while inner.error > error / 4:
        degree += 2
        inner = minimax("gelu", (-reach, reach), degree)
    worst = off / 2 + 1.13 * off + inner.error + float(cut * ndtr(-cut))
    return Gate(name="gelu", radius=radius, sign=found, inner=inner, cut=cut, error=worst)


@cache
def _stage(start: float, degree: int) -> Polynomial:
    """The best odd fit of 1 on [start, 1]."""
    found = remez(np.ones_like, degree, parity=1, start=start).coefficients
    return Polynomial(coefficients=tuple(map(float, found)), interval=(-1.0, 1.0), approximates="sign")


@cache
def _best(epsilon: float, error: float) -> tuple[int, ...]:
    # Depth by depth: what reaches the smallest epsilon ratio with each number of products. A composition whose ratio
    # low / high is larger with no more products is never worse.
    front: dict[int, list[tuple[float, int, tuple[int, ...]]]] = {0: [(epsilon, 0, ())]}
    for depth in range(1, 80):
        found = []
        for degree in DEGREES:
            cost = programs(_stage(0.5, degree))[0]
            for ratio, products, used in front.get(depth - cost.depth, []):
                low, high = bounds(_stage(ratio, degree), degree, (ratio, 1.0), oversampling=64)
                if low > 0:
                    found.append((low / high, products + cost.products, (*used, degree)))
        front[depth] = _undominated(found)
        # An interval [low, high] around 1 has the error (1 - ratio) / (1 + ratio) once it is centred.
        done = [(products, used) for ratio, products, used in front[depth] if (1 - ratio) / (1 + ratio) <= 0.99 * error]
        if done:
            return min(done)[1]
    raise BadInput("epsilon", epsilon, "is too small", "widen the step")


def _undominated(found: list[tuple[float, int, tuple[int, ...]]]) -> list[tuple[float, int, tuple[int, ...]]]:
    kept: list[tuple[float, int, tuple[int, ...]]] = []
    for each in sorted(found, key=lambda item: (item[1], -item[0])):
        if not kept or each[0] > kept[-1][0]:
            kept.append(each)
    return kept


def _checked(radius: float, error: float) -> None:
    if not (np.isfinite(radius) and radius > 0 and 0 < error < radius):
        raise BadInput("radius, error", (radius, error), "do not fit", "give 0 < error < radius")
