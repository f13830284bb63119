"""Means of scores in [0, 1] with an honest interval for few trials."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean of scores in [0, 1] and its 95 % interval.

    Args:
        value: the mean.
        low: lower end of the interval.
        high: upper end of the interval.
        n: number of scores.
    """

    value: float
    low: float
    high: float
    n: int


def wilson(scores: Sequence[float]) -> Mean:
    """Return the mean with its Wilson score interval.

    `(m + z²/2n ± z sqrt(m(1-m)/n + z²/4n²)) / (1 + z²/n)` for the mean m of n scores. For
    yes-or-no scores this is the Wilson interval. A score inside [0, 1] has a variance of at most
    m(1-m), so for other scores the interval is on the safe side. A bootstrap would give an
    interval of no width when four of four texts agree.

    Args:
        scores: n >= 1 numbers in [0, 1].

    Raises:
        ValueError: if there is no score.

    Example:
        >>> wilson([1.0, 1.0, 1.0, 1.0])
        Mean(value=1.0, low=0.5101, high=1.0, n=4)
    """
    if not scores:
        raise ValueError("an interval needs at least one score")
    n = len(scores)
    m = min(max(math.fsum(scores) / n, 0.0), 1.0)
    centre = m + Z * Z / (2 * n)
    reach = Z * math.sqrt(m * (1 - m) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    low, high = (centre - reach) / scale, (centre + reach) / scale
    # Rounded, because the ends 0 and 1 come out with an error of 1e-17.
    return Mean(value=m, low=round(max(low, 0.0), 4), high=round(min(high, 1.0), 4), n=n)
