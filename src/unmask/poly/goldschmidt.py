"""1/x and 1/sqrt(x) on wide intervals by Goldschmidt's iteration, relaxed so that each step gains the most.

Inverse. With b = x y in [e, 1], u = k b and k = 2 / (1 + e) is symmetric around 1, so u (2 - u) lies in
[e', 1] with e' = k e (2 - k e), as high as one step can bring it. y is multiplied by k (2 - u).

Inverse square root. With a = x y^2 in [e, 1], u = k a and u (3 - u)^2 / 4, which rises to 1 at u = 1 and then
falls, lies in [e', 1]. The best k gives both ends the same value: with s = sqrt(k), it solves
(1 - e^3) k^2 - 6 (1 - e^2) k + 9 (1 - e) = 0. y is multiplied by sqrt(k) (3 - u) / 2.

Both bounds follow from monotony alone, so the error is certified at every point. The constants cost no level: b is
kept as beta b, so that the step is (beta b) (2 beta / k - beta b), and only the last result is scaled.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt

import numpy as np

from unmask.errors import BadInput
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.program import programs
from unmask.poly.ranges import bounds
from unmask.poly.remez import remez
from unmask.poly.targets import Interval

LONGEST = 64


class Power(StrEnum):
    """What is computed."""

    INVERSE = "inverse"
    INVERSE_SQRT = "inverse-sqrt"


@dataclass(frozen=True, kw_only=True)
class Goldschmidt:
    """An iteration that is certified on an interval.

    Args:
        power: x^-1 or x^-1/2.
        interval: (lo, hi), lo above 0.
        start: polynomial that y starts at, or None for the constant that takes x to [lo / hi, 1].
        floor: least value of x y (or x y^2) at the start; the largest is 1.
        scale: what the start is multiplied by for that.
        steps: k of each step.
        error: largest relative error, with the result scaled to the middle.
    """

    power: Power
    interval: Interval
    start: Polynomial | None
    floor: float
    scale: float
    steps: tuple[float, ...]
    error: float
    last: float = field(default=1.0)

    def __call__(self, x: Array) -> Array:
        """Return the approximation, step by step as a circuit does."""
        x = np.asarray(x, dtype=np.float64)
        y = self.scale * (np.ones_like(x) if self.start is None else self.start(x))
        a = x * y if self.power is Power.INVERSE else x * y * y
        for k in self.steps:
            if self.power is Power.INVERSE:
                y, a = k * y * (2 - k * a), k * a * (2 - k * a)
            else:
                y, a = sqrt(k) / 2 * y * (3 - k * a), k * a * (3 - k * a) ** 2 / 4
        return self.last * y

    @property
    def depth(self) -> int:
        """Levels, the last scaling folded into what follows."""
        begun, count = _begun(self), len(self.steps)
        if not count:
            return 0 if self.start is None else programs(self.start)[0].depth
        if self.power is Power.INVERSE:
            return max(begun + count, 0 if self.start is None else 1) if self.start or count > 1 else 0
        return begun + 2 * count - 1 if self.start or count > 1 else 0

    @property
    def products(self) -> int:
        """Ciphertext products."""
        count = len(self.steps)
        before = 0 if self.start is None else programs(self.start)[0].products
        if not count:
            return before
        constant = self.start is None
        if self.power is Power.INVERSE:
            # y starts as a constant, then the first step is no product; the last step needs no a.
            return before + (0 if constant else 1) + (count - 1) + count - constant
        return before + (0 if constant else 2) + 2 * (count - 1) + count - constant


def goldschmidt(power: Power, interval: Interval, error: float, *, degree: int = 0) -> Goldschmidt:
    """Return the shortest relaxed iteration of at most a relative error.

    Args:
        power: inverse or inverse square root.
        interval: (lo, hi), lo above 0.
        error: largest relative error, in (0, 1).
        degree: of a polynomial to start at; 0 starts at a constant, which costs no level.

    Raises:
        BadInput: if the interval reaches 0, the error is out of range, or more than 64 steps would be needed.

    Example:
        >>> found = goldschmidt(Power.INVERSE, (2**-11, 1.0), 1e-3)
        >>> len(found.steps), found.error < 1e-3
        (7, True)

    Source:
        The relaxation of the inverse is in THOR (Moon et al. 2024).
    """
    low, high = interval
    if not 0 < low < high < np.inf:
        raise BadInput("interval", interval, "does not lie above 0", "give 0 < low < high")
    if not 1e-12 < error < 1:
        raise BadInput("error", error, "is not in (1e-12, 1)", "give a relative error such as 1e-6")
    # An argument that is rounded to just beyond an end would be outside, and the first steps magnify it.
    start, scale, floor = _start(power, (low * (1 - 1e-14), high * (1 + 1e-14)), degree)
    e, steps = floor, list[float]()
    while _relative(power, e)[0] > error:
        if len(steps) == LONGEST:
            raise BadInput("interval", interval, f"needs more than {LONGEST} steps", "scale it into a narrower one")
        k, e = _step(power, e)
        steps.append(k)
    reached, last = _relative(power, e)
    return Goldschmidt(
        power=power,
        interval=interval,
        start=start,
        floor=floor,
        scale=scale,
        steps=tuple(steps),
        error=reached,
        last=last,
    )


def plain_steps(power: Power, floor: float, error: float) -> int:
    """Return the steps that the iteration takes with k = 1, without relaxation.

    Args:
        power: inverse or inverse square root.
        floor: least value at the start; the largest is 1.
        error: largest relative error wanted.
    """
    e, count = floor, 0
    while _relative(power, e)[0] > error:
        e = e * (2 - e) if power is Power.INVERSE else e * (3 - e) ** 2 / 4
        count += 1
    return count


def _step(power: Power, e: float) -> tuple[float, float]:
    if power is Power.INVERSE:
        k = 2 / (1 + e)
        return k, k * e * (2 - k * e)
    # 1 - e divided out of the quadratic: it cancels near 1. Of the two roots the one in [1, 3].
    k = (3 * (1 + e) - 3 * sqrt(max((1 + e) ** 2 - (1 + e + e * e), 0.0))) / (1 + e + e * e)
    return k, min(k * e * (3 - k * e) ** 2 / 4, 1.0)


def _relative(power: Power, e: float) -> tuple[float, float]:
    # x y in [e, 1] is best scaled to [1 - d, 1 + d]; for the square root that is x^(1/2) y in [sqrt(e), 1].
    low = e if power is Power.INVERSE else sqrt(e)
    # float64 itself leaves a few units in the last place at each of at most 64 steps.
    return (1 - low) / (1 + low) + 1e-13, 2 / (1 + low)


def _start(power: Power, interval: Interval, degree: int) -> tuple[Polynomial | None, float, float]:
    low, high = interval
    root = 1.0 if power is Power.INVERSE else 0.5
    if degree == 0:
        return None, high**-root, low / high
    centre, half = (low + high) / 2, (high - low) / 2
    found = remez(
        lambda t: (centre + half * t) ** -root, degree, weight=lambda t: (centre + half * t) ** root
    ).coefficients
    start = Polynomial(coefficients=tuple(map(float, found)), interval=interval, approximates=power.value)
    if power is Power.INVERSE:
        least, most = bounds(lambda x: x * start(x), degree + 1, interval, oversampling=64)
        return _checked(start, least), 1 / most, least / most
    # x p(x)^2, which is not negative: p must not change sign.
    least, most = bounds(lambda x: x * start(x) ** 2, 2 * degree + 1, interval, oversampling=64)
    _checked(start, bounds(start, degree, interval, oversampling=64)[0])
    return _checked(start, least), most**-0.5, least / most


def _checked(start: Polynomial, least: float) -> Polynomial:
    if least <= 0:
        rule = "is too low for a start that stays above 0 on this interval"
        raise BadInput("degree", start.degree, rule, "take a higher one, or 0")
    return start


def _begun(iteration: Goldschmidt) -> int:
    # Levels until x y (or x y^2) is there.
    if iteration.start is None:
        return 0
    return programs(iteration.start)[0].depth + (1 if iteration.power is Power.INVERSE else 2)
