"""The rounded normal law: against its probabilities, and against slow exact arithmetic."""

from decimal import Decimal, localcontext

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import chi2, norm

from unmask.errors import BadInput
from unmask.privacy import rounded
from unmask.privacy.rounded import MARGIN, rounded_normal
from unmask.privacy.sampling import Randomness


class Words:
    """Plays back given words, then zeros."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def __call__(self, count: int) -> NDArray[np.uint64]:
        taken, self.left = self.left[:count], self.left[count:]
        return np.array([*taken, *(0 for _ in range(count - len(taken)))], dtype=np.uint64)


def twin(word: int, scale: float) -> int:
    """Return the draw of a word whose further bits are zeros, by 110 digits of another library."""
    with mpmath.workdps(110):
        tail = (mpmath.mpf((word >> 1) << 192) + mpmath.mpf(1) / 2) / mpmath.mpf(2) ** 256
        # A first guess by floats, then Newton's method on the tail.
        z = mpmath.mpf(float(-ndtri(float(tail))))
        for _ in range(8):
            z += (mpmath.erfc(z / mpmath.sqrt(2)) / 2 - tail) / mpmath.npdf(z)
        size = int(mpmath.floor(scale * z + mpmath.mpf(1) / 2))
    return size if word & 1 else -size


def test_probabilities_of_every_number() -> None:
    count = 100_000
    for scale in (0.3, 1.0, 2.7):
        drawn = rounded_normal(count, scale, Randomness(seed=1).bits)
        numbers = np.arange(-int(3 * scale) - 1, int(3 * scale) + 2)
        expected = count * (norm.cdf((numbers + 0.5) / scale) - norm.cdf((numbers - 0.5) / scale))
        seen = np.array([(drawn == k).sum() for k in numbers])
        kept = expected > 5
        assert ((seen - expected) ** 2 / expected)[kept].sum() < chi2.ppf(1 - 1e-6, kept.sum())


def test_words_give_the_number_that_exact_arithmetic_gives() -> None:
    scale = 2.0**22 * 1.3
    words = [int(word) for word in Randomness(seed=2).bits(40)]
    words += [1, 3, 2**64 - 1, 2**63 + 1, 2**30 + 1, 2**45]  # far tails, the middle
    for word in words:
        (found,) = rounded_normal(1, scale, Words(word))
        assert found == twin(word, scale), word


def test_the_border_between_two_numbers_is_decided_by_further_bits() -> None:
    # The word whose interval holds the tail above 1000.5 steps of a grid: floats cannot tell 1000 from 1001.
    scale = 2.0**22
    with mpmath.workdps(110):
        border = mpmath.erfc(mpmath.mpf(1000.5) / scale / mpmath.sqrt(2)) / 2
        word = (int(border * mpmath.mpf(2) ** 64) << 1) | 1
        rest = border * mpmath.mpf(2) ** 64
        rest = int((rest - mpmath.floor(rest)) * mpmath.mpf(2) ** 64)
    assert list(rounded_normal(1, scale, Words(word, rest - 1))) == [1001]
    assert list(rounded_normal(1, scale, Words(word, rest + 1))) == [1000]


def test_the_error_of_the_inverse_distribution_function_is_far_below_the_margin() -> None:
    for tail in (0.4999, 0.3, 0.1, 1e-3, 1e-6, 1e-10, 2.0**-44, 2.0**-60):
        with mpmath.workdps(40):
            z = mpmath.mpf(float(-ndtri(tail)))
            for _ in range(5):
                z += (mpmath.erfc(z / mpmath.sqrt(2)) / 2 - mpmath.mpf(tail)) / mpmath.npdf(z)
            assert abs(float(z - mpmath.mpf(float(-ndtri(tail))))) < MARGIN / 20 * (1 + float(z))


def test_the_tail_has_a_hundred_digits() -> None:
    for b in ("0.0001", "0.7", "3", "9.1"):
        with localcontext() as context, mpmath.workdps(120):
            context.prec = rounded.DIGITS
            found = mpmath.mpf(str(rounded._tail(Decimal(b))))
            assert abs(found - mpmath.erfc(mpmath.mpf(b) / mpmath.sqrt(2)) / 2) < mpmath.mpf(10) ** -100


def test_a_scale_out_of_range() -> None:
    for scale in (0.0, -1.0, float("nan"), 2.0**41):
        with pytest.raises(BadInput, match="scale"):
            rounded_normal(1, scale, Randomness().bits)
    assert Randomness().rounded_normal((2, 3), 5.0).shape == (2, 3)
