"""How much noise each CKKS operation adds to a slot: one model for every simulator here.

A polynomial with independent coefficient errors of deviation s shifts the real part of each slot, a sum of N
coefficients times roots of unity, by a deviation of s sqrt(N / 2); the scale divides it.
"""

from dataclasses import dataclass
from math import sqrt

SIGMA = 3.19
"""Deviation of the error of ring learning with errors, as in the HomomorphicEncryption.org standard."""
TERNARY = 2 / 3
"""Mean square of a coefficient of a uniform ternary polynomial: the secret, and the mask of an encryption."""
BOOTSTRAP = 2.0**-19.4
"""Deviation after a bootstrap of values in [-1, 1]: OpenFHE, ring 2^16, scale 2^57, all slots, input scaled down by
5 bits. It grows with the ring, and doubles with each bit less of scale: 4.6e-5 measured at 2^52."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Deviation that an operation adds to each slot, for values in slots (not scaled).

    Args:
        encode: rounding a vector to an integer polynomial. In a product it meets the other factor.
        fresh: encryption with the public key.
        rescale: dividing by a prime and rounding, as every product does.
        key_switch: a rotation or a relinearisation. After a product it is divided by the scale, so that it
            does not count there.
        bootstrap: a refreshed ciphertext.

    Example:
        >>> f"{Noise.of(ring=15, scale=45).fresh:.1e}"
        '2.4e-09'
    """

    encode: float
    fresh: float
    rescale: float
    key_switch: float
    bootstrap: float

    @classmethod
    def of(cls, *, ring: int, scale: int) -> "Noise":
        """Return the noise of a ring of dimension 2^ring with a scale of so many bits.

        Key switching is taken with a special modulus well above the digit, where the rounding of the division
        by it is all that is left.
        """
        dimension = 2**ring
        slot = sqrt(dimension / 2) / 2.0**scale
        rounding = sqrt((1 + TERNARY * dimension) / 12) * slot
        return cls(
            encode=sqrt(1 / 12) * slot,
            fresh=SIGMA * sqrt(2 * TERNARY * dimension + 1) * slot,
            rescale=rounding,
            key_switch=rounding,
            bootstrap=BOOTSTRAP * 2.0 ** (57 - scale) * 2.0 ** (ring - 16),
        )

    @classmethod
    def none(cls) -> "Noise":
        """Return no noise at all, to test a circuit's arithmetic."""
        return cls(encode=0.0, fresh=0.0, rescale=0.0, key_switch=0.0, bootstrap=0.0)
