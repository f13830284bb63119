"""The normal law rounded to whole numbers, drawn exactly: what a float cannot decide, exact arithmetic does."""

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from unmask.errors import BadInput

Bits = Callable[[int], NDArray[np.uint64]]
"""Returns so many words of 64 independent bits."""
PI = Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651"
)
MARGIN = 1e-13
"""Error allowed to the inverse distribution function, relative to 1 + |z|: a hundred times what is seen of it."""
DIGITS, FURTHER = 105, 3
"""Decimal digits of the exact way, and the words of further bits that it reads: 2^-255 is left to chance."""
WIDEST = 2.0**40


def rounded_normal(count: int, scale: float, bits: Bits) -> NDArray[np.int64]:
    """Return `count` draws of `floor(scale |z| + 1/2)` with a random sign, z standard normal: the rounded law.

    A word holds the sign and 63 bits of the tail probability u/2 of |z|, so |z| lies in an interval. Nearly always
    all of it rounds to one number, the float's error included. Where it does not, further bits are read and u/2 is
    compared with `erfc(b / sqrt(2)) / 2` at the border b between two numbers, to 100 digits.

    Whole numbers k plus such a draw are the rounding of `k + scale z`, a function of what the Gaussian mechanism of
    real numbers releases. So its (epsilon, delta) holds for what is computed here, bit for bit.

    Args:
        count: number of draws.
        scale: deviation, in units of the grid.
        bits: source of random words.

    Raises:
        BadInput: if the scale is not positive, or above 2^40.
    """
    if not 0 < scale <= WIDEST:
        raise BadInput("scale", scale, "is no deviation in (0, 2^40]", "choose another grid")
    words = bits(count)
    tail = (words >> np.uint64(1)).astype(np.float64) + 0.5
    size = -ndtri(np.minimum(tail * 2.0**-64, 0.5))
    # |dz| <= 1.3 |du| / u for a normal tail; u is known to 1 part in 2^52 as a float, and to half a unit of 2^-64.
    error = 2 * (2.0**-52 + 0.5 / tail) + MARGIN * (1 + size)
    low, high = np.floor(scale * (size - error) + 0.5), np.floor(scale * (size + error) + 0.5)
    found = np.asarray(low, dtype=np.int64)
    for index in np.flatnonzero((low != high) | (tail < 2.0**20)):
        found[index] = _exact(int(words[index]) >> 1, scale, bits)
    return np.where(words & np.uint64(1), found, -found)


def _exact(known: int, scale: float, bits: Bits) -> int:
    """Return `floor(scale |z| + 1/2)` where u/2 begins with these 63 bits, of which the first counts 1/4."""
    further = [int(word) for word in bits(FURTHER)]
    for word in further:
        known = (known << 64) | word
    with localcontext() as context:
        context.prec = DIGITS
        tail = (Decimal(known) + Decimal("0.5")) / Decimal(2) ** (64 + 64 * FURTHER)
        wide = Decimal(scale)
        guess = max(0, int(wide * Decimal(-float(ndtri(float(tail))))))
        while _tail((Decimal(guess) + Decimal("0.5")) / wide) >= tail:  # |z| lies beyond the upper border
            guess += 1
        while guess and _tail((Decimal(guess) - Decimal("0.5")) / wide) < tail:
            guess -= 1
    return guess


def _tail(b: Decimal) -> Decimal:
    """Return `erfc(b / sqrt(2)) / 2`, the chance of a standard normal number above b >= 0.

    `erf(b / sqrt(2)) / 2 = phi(b) (b + b^3/3 + b^5/15 + ...)`: all terms are positive, so nothing cancels.
    """
    term = total = b
    odd = 1
    while term > total * Decimal(10) ** -DIGITS:
        odd += 2
        term = term * b * b / odd
        total += term
    return Decimal("0.5") - total * (-b * b / 2).exp() / (2 * PI).sqrt()
