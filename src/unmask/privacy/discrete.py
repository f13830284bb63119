"""The discrete Gaussian, drawn exactly with integers (Canonne, Kamath and Steinke 2020, algorithms 1 to 3)."""

import math
from collections.abc import Callable
from fractions import Fraction

Below = Callable[[int], int]
"""Returns an integer that is uniform on 0 ... limit - 1."""


def bernoulli(numerator: int, denominator: int, below: Below) -> bool:
    """Return True with probability `numerator / denominator`."""
    return below(denominator) < numerator


def bernoulli_exp(numerator: int, denominator: int, below: Below) -> bool:
    """Return True with probability `exp(-x)`, x = numerator/denominator >= 0.

    For x <= 1 count how many events of probability x, x/2, x/3, ... happen in a row: the count
    reaches j with probability `x^j / j!`, so it is even with probability `sum (-x)^j / j! = exp(-x)`.
    For x > 1 ask for exp(-1) until the rest is at most 1.
    """
    while numerator > denominator:
        if not _exp_of_at_most_one(1, 1, below):
            return False
        numerator -= denominator
    return _exp_of_at_most_one(numerator, denominator, below)


def _exp_of_at_most_one(numerator: int, denominator: int, below: Below) -> bool:
    count = 1
    while bernoulli(numerator, denominator * count, below):
        count += 1
    return count % 2 == 1


def discrete_laplace(scale: int, below: Below) -> int:
    """Return an integer x with probability proportional to `exp(-|x| / scale)`.

    Its size is `u + scale v` with u on 0 ... scale - 1 kept with probability exp(-u/scale), and v geometric.
    """
    while True:
        low = below(scale)
        if not bernoulli_exp(low, scale, below):
            continue
        high = 0
        while bernoulli_exp(1, 1, below):
            high += 1
        size = low + scale * high
        negative = below(2) == 0
        if not (negative and size == 0):  # or zero would count twice
            return -size if negative else size


def discrete_normal(variance: Fraction, below: Below) -> int:
    """Return an integer x with probability proportional to `exp(-x^2 / (2 variance))`.

    A discrete Laplace number of scale t = floor(sigma) + 1 is kept with probability
    `exp(-(|x| - variance/t)^2 / (2 variance))`; the product is the Gaussian up to a constant.
    Adding it to an integer vector of L2 sensitivity D gives `D^2 / (2 variance)`-zCDP (theorem 4 there),
    as the continuous one does, and its variance is at most that of the continuous one.

    Args:
        variance: a rational number above zero.
        below: source of integers.
    """
    scale = math.isqrt(variance.numerator // variance.denominator) + 1
    while True:
        x = discrete_laplace(scale, below)
        gap = abs(x) - variance / scale
        chance = gap * gap / (2 * variance)
        if bernoulli_exp(chance.numerator, chance.denominator, below):
            return x
