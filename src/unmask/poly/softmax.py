"""Row-wise normalisations without exponentials of wide range: squaring, normalise-and-square, powers.

Exponential by squaring: e^x = (e^(x / 2^r))^(2^r), the inner one a polynomial. Its relative error d becomes
(1 + d)^(2^r) - 1.

Normalise-and-square: softmax(2 x) = y^2 / sum y^2 with y = softmax(x). A row's common factor cancels, so the error of
each inverse but the last goes, and after r rounds an entry has a relative error of at most
((1 + d) / (1 - d))^(2^r) (1 + i) - 1, i that of the inverse.

Power softmax: x^p / sum x^p, p even, in the mean form: the inverse's interval does not grow with the row's length.
"""

from dataclasses import dataclass
from math import exp, log2

import numpy as np

from unmask.errors import BadInput
from unmask.poly.fits import minimax
from unmask.poly.goldschmidt import Goldschmidt, Power, goldschmidt
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.program import least_depth, programs
from unmask.poly.targets import Interval


@dataclass(frozen=True, kw_only=True)
class SquaredExponential:
    """e^x as a polynomial of x, squared again and again.

    Args:
        inner: near e^u.
        squarings: r; the inner polynomial takes x / 2^r.
        error: largest relative error.
    """

    inner: Polynomial
    squarings: int
    error: float

    def __call__(self, x: Array) -> Array:
        """Return the approximation."""
        y = self.inner(x / 2**self.squarings)
        for _ in range(self.squarings):
            y = y * y
        return y

    @property
    def depth(self) -> int:
        """Levels."""
        return programs(self.inner)[0].depth + self.squarings

    @property
    def products(self) -> int:
        """Ciphertext products."""
        return programs(self.inner)[0].products + self.squarings


def exponential(interval: Interval, error: float) -> SquaredExponential:
    """Return e^x within a relative error, of least depth and then of fewest products.

    Args:
        interval: (lo, hi).
        error: relative, in (0, 1).

    Raises:
        BadInput: if an argument is out of range.
    """
    low, high = interval
    if not (np.isfinite(low) and np.isfinite(high) and low < high) or not 1e-10 < error < 1:
        raise BadInput("interval, error", (interval, error), "are out of range", "give low < high and such as 1e-4")
    best: SquaredExponential | None = None
    for squarings in range(12):
        inner = (low / 2**squarings, high / 2**squarings)
        if inner[1] - inner[0] > 30:
            continue
        for degree in (1, 2, 3, 4, 5, 7, 9, 12, 15, 23, 31):
            if best is not None and least_depth(degree) + squarings > best.depth:
                break
            fit = minimax("exp", inner, degree)
            relative = float(np.expm1(2**squarings * np.log1p(fit.error * exp(-inner[0]))))
            if relative <= error:
                found = SquaredExponential(inner=fit, squarings=squarings, error=relative)
                if best is None or (found.depth, found.products) < (best.depth, best.products):
                    best = found
                break
    if best is None:
        raise BadInput("error", error, f"is not reached on {interval}", "allow more, or narrow the interval")
    return best


@dataclass(frozen=True, kw_only=True)
class NormaliseAndSquare:
    """Softmax of rows of given length whose scores lie in an interval.

    Args:
        exponential: of x / 2^rounds.
        rounds: of squaring and normalising.
        first: inverse of the sum of exponentials.
        later: inverse of the sum of squares, which lies in [1 / length, 1].
        error: largest relative error of an entry.
    """

    exponential: SquaredExponential
    rounds: int
    first: Goldschmidt
    later: Goldschmidt
    error: float

    def __call__(self, x: Array) -> Array:
        """Return (..., length) of scores (..., length)."""
        y = self.exponential(x / 2**self.rounds)
        y = y * self.first(y.sum(axis=-1, keepdims=True))
        for _ in range(self.rounds):
            y = y * y
            y = y * self.later(y.sum(axis=-1, keepdims=True))
        return y

    @property
    def depth(self) -> int:
        """Levels."""
        return self.exponential.depth + self.first.depth + 1 + self.rounds * (2 + self.later.depth)

    @property
    def products(self) -> int:
        """Ciphertext products for one ciphertext of entries and one of sums."""
        begun = self.exponential.products + self.first.products + 1
        return begun + self.rounds * (2 + self.later.products)


def normalise_and_square(interval: Interval, length: int, error: float, *, rounds: int = 1) -> NormaliseAndSquare:
    """Return a softmax that is within a relative error of each entry.

    Args:
        interval: of the scores; a public constant may be subtracted before.
        length: entries of a row.
        error: relative, in (0, 1).
        rounds: more of them narrow the exponential's interval, at the price of an inverse each.

    Raises:
        BadInput: if an argument is out of range.

    Source:
        Cho et al. 2024; THOR (Moon et al. 2024).
    """
    low, high = interval
    if length < 2 or not 0 <= rounds <= 8 or not 1e-8 < error < 1:
        given = (length, rounds, error)
        raise BadInput("length, rounds, error", given, "are out of range", "give 2 or more, 0 to 8, such as 1e-3")
    scaled = (low / 2**rounds, high / 2**rounds)
    # Half the error for the exponentials, half for the inverses.
    inverse = error / 2
    e = exponential(scaled, error / (5 * 2**rounds))
    sums = (length * exp(scaled[0]) * (1 - e.error), length * exp(scaled[1]) * (1 + e.error))
    first = goldschmidt(Power.INVERSE, sums, inverse)
    # The sum of y is 1 up to the inverse's error, so that of its squares is within these.
    squares = ((1 - inverse) ** 2 / length, (1 + inverse) ** 2)
    later = goldschmidt(Power.INVERSE, squares, inverse)
    ratio = ((1 + e.error) / (1 - e.error)) ** (2**rounds)
    last = later if rounds else first
    return NormaliseAndSquare(
        exponential=e, rounds=rounds, first=first, later=later, error=ratio * (1 + last.error) - 1
    )


@dataclass(frozen=True, kw_only=True)
class PowerSoftmax:
    """x^p / (length (mean x^p + epsilon)), p even.

    Args:
        power: p, a power of two, or 6.
        epsilon: keeps the inverse's interval away from 0.
        inverse: on [epsilon, largest^p + epsilon].
    """

    power: int
    epsilon: float
    inverse: Goldschmidt

    def __call__(self, x: Array) -> Array:
        """Return (..., length) of scores (..., length)."""
        y = x**self.power
        return y * self.inverse(y.mean(axis=-1, keepdims=True) + self.epsilon) / x.shape[-1]

    def exact(self, x: Array) -> Array:
        """Return the same with an exact division."""
        y = x**self.power
        return y / (x.shape[-1] * (y.mean(axis=-1, keepdims=True) + self.epsilon))

    @property
    def error(self) -> float:
        """Largest relative error against the exact division."""
        return self.inverse.error

    @property
    def depth(self) -> int:
        """Levels; 1 / length is folded into the values."""
        return int(np.ceil(log2(self.power))) + self.inverse.depth + 1

    @property
    def products(self) -> int:
        """Ciphertext products for one ciphertext of entries and one of means."""
        return {2: 1, 4: 2, 6: 3, 8: 3}[self.power] + self.inverse.products + 1


def power_softmax(largest: float, error: float, *, power: int = 4, epsilon: float = 1e-3) -> PowerSoftmax:
    """Return a power softmax for scores within +- largest.

    Args:
        largest: bound of |x|.
        error: relative, of the division.
        power: 2, 4, 6 or 8.
        epsilon: above 0.

    Raises:
        BadInput: if an argument is out of range.

    Source:
        Zimerman et al. 2024, arXiv 2410.09457.
    """
    if power not in {2, 4, 6, 8}:
        raise BadInput("power", power, "is not 2, 4, 6 or 8", "give one of these")
    if not (0 < epsilon < np.inf and 0 < largest < np.inf):
        raise BadInput("epsilon, largest", (epsilon, largest), "are not above 0", "give such as 1e-3 and 4")
    inverse = goldschmidt(Power.INVERSE, (epsilon, largest**power + epsilon), error)
    return PowerSoftmax(power=power, epsilon=epsilon, inverse=inverse)
