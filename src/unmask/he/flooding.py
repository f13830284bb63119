"""Noise on decrypted values that are going to be shared, so that they say little of the secret key."""

import math
from dataclasses import dataclass

import numpy as np

from unmask.errors import BadInput
from unmask.he.packing import Array
from unmask.privacy.rounded import Bits, rounded_normal


@dataclass(frozen=True, kw_only=True)
class Flooding:
    """Gaussian noise that hides the error of CKKS in decrypted values.

    A decrypted value is m + e: what the computation gives in clear, and an error that depends on the key. It is put
    on a grid of step g = `error`, and a normal number of deviation sigma is added, rounded to the grid:

    `round((m + e) / g) + rounded_normal(sigma / g)`, with `sigma = (error + g) sqrt(values) / (2 advantage)`.

    With e and without it the two whole numbers are at most `(error + g) / g` apart, so the divergence
    (Kullback-Leibler) of all that is ever shared is at most `values (error + g)^2 / (2 sigma^2)`, also if later
    inputs depend on earlier answers. By Pinsker's inequality nobody tells shared values from ones made without the
    key with a larger advantage than `advantage`.

    Args:
        error: bound on |e|, in units of the outputs. The claim is as good as this bound.
        values: numbers that are shared under one key, all queries together.
        advantage: of telling the two apart, in (0, 1).

    Raises:
        BadInput: if one is out of range, or the noise would be above 2^40 times the error.

    Source: Li, Micciancio, Schultz, Sorrell, "Securing Approximate Homomorphic Encryption Using Differential
    Privacy", CRYPTO 2022, with the statistical distance in the place of bit security.

    Example:
        >>> round(Flooding(error=1e-4, values=100, advantage=0.01).sigma, 6)
        0.1
    """

    error: float
    values: int
    advantage: float

    def __post_init__(self) -> None:
        if not 0 < self.error < math.inf:
            raise BadInput("error", self.error, "is no bound above 0", "give one, such as 1e-3")
        if self.values < 1:
            raise BadInput("values", self.values, "is below 1", "count the numbers shared under one key")
        if not 0 < self.advantage < 1:
            raise BadInput("advantage", self.advantage, "is not between 0 and 1", "give one, such as 0.01")
        if self.sigma > 2**40 * self.error:
            rule = f"needs noise of {self.sigma:.1e}, above 2^40 times the error"
            raise BadInput("advantage", self.advantage, rule, "share fewer values, or make new keys more often")

    @property
    def sigma(self) -> float:
        """Deviation of the noise, in units of the outputs."""
        return self.error * math.sqrt(self.values) / self.advantage

    def apply(self, decrypted: Array, bits: Bits) -> Array:
        """Return what may be shared, of the shape of `decrypted`: whole multiples of the error.

        Args:
            decrypted: values of one key; never shared as they are.
            bits: source of random words; `Randomness().bits` reads the system's entropy.
        """
        whole = np.rint(decrypted / self.error).astype(np.int64)
        noise = rounded_normal(decrypted.size, self.sigma / self.error, bits).reshape(decrypted.shape)
        return np.asarray((whole + noise) * self.error, dtype=np.float64)
