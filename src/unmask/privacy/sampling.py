"""Where privacy noise comes from: the system's entropy, or a seed that voids every claim."""

import math
import os
import random
import secrets
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from unmask.privacy.discrete import discrete_normal
from unmask.privacy.rounded import rounded_normal

Array = NDArray[np.float64]


class Randomness:
    """A source of noise. Without a seed every draw reads the system's entropy and nothing can be drawn again.

    A generator such as PCG64 is no secret: its state follows from its outputs, and noise that can
    be computed hides nothing. So bits come from `os.urandom`, through the inverse distribution
    function for continuous laws and through integers alone for the discrete Gaussian.

    The continuous laws are laws of real numbers. Their float64 images are not: which values a
    sum of a float and a rounded normal can take depends on the data (Mironov 2012 for the Laplace law).
    A claim about bits that are published as they are therefore needs whole numbers on a grid: `discrete_normal`, or
    the faster `rounded_normal`.

    Args:
        seed: for tests and audits; every claim about a seeded release is void.

    Example:
        >>> Randomness(seed=1).void, Randomness().void
        (True, False)
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self._integers = None if seed is None else random.Random(seed)
        self._generator = None if seed is None else np.random.default_rng(seed)

    @property
    def void(self) -> bool:
        """Whether a seed makes the noise reproducible, so that nothing may be claimed."""
        return self._generator is not None

    def bits(self, count: int) -> NDArray[np.uint64]:
        """Return `count` words of 64 independent bits."""
        raw = os.urandom(8 * count) if self._generator is None else self._generator.bytes(8 * count)
        return np.frombuffer(raw, dtype=np.uint64)

    def below(self, limit: int) -> int:
        """Return an integer that is uniform on 0 ... limit - 1."""
        return secrets.randbelow(limit) if self._integers is None else self._integers.randrange(limit)

    def uniform(self, shape: tuple[int, ...]) -> Array:
        """Return numbers in (0, 1): midpoints of 2^53 equal cells."""
        words = self.bits(math.prod(shape)) >> np.uint64(11)
        return ((words.astype(np.float64) + 0.5) * 2.0**-53).reshape(shape)

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Return standard normal numbers by the inverse distribution function, tails to 9 deviations.

        One bit is the sign; 63 bits choose the tail probability `u/2` with u in (0, 1). The
        distribution is cut where a tail of 2^-64 is left, which adds less than 1e-18 to delta.
        """
        words = self.bits(math.prod(shape))
        sign = np.where(words & np.uint64(1), 1.0, -1.0)
        tail = ((words >> np.uint64(1)).astype(np.float64) + 0.5) * 2.0**-64
        return (sign * -ndtri(np.minimum(tail, 0.5))).reshape(shape)

    def discrete_normal(self, shape: tuple[int, ...], variance: Fraction) -> NDArray[np.int64]:
        """Return exact draws of the discrete Gaussian on the integers; some 20 microseconds each."""
        draws = [discrete_normal(variance, self.below) for _ in range(math.prod(shape))]
        return np.array(draws, dtype=np.int64).reshape(shape)

    def rounded_normal(self, shape: tuple[int, ...], scale: float) -> NDArray[np.int64]:
        """Return exact draws of a normal number of this deviation, rounded to the nearest whole one.

        Raises:
            BadInput: if the scale is not positive, or above 2^40.
        """
        return rounded_normal(math.prod(shape), scale, self.bits).reshape(shape)
