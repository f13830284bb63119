"""Parameters of CKKS, and what they say of security before any key is made."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from unmask.errors import BadInput

LARGEST = {12: 109, 13: 218, 14: 438, 15: 881, 16: 1747, 17: 3523}
"""Bits of the whole modulus QP at 128 bits of security against classical computers, secret uniform ternary.

Rings 2^12 to 2^15: HomomorphicEncryption.org standard, 2018; above: Bossuat and others, 2024.
"""
SPECIAL = 60
"""Bits of each prime of P, the part of the modulus that key switching adds."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Ring, modulus chain and scale.

    Args:
        ring: log2 of the ring dimension N, 12 to 17; a ciphertext has N / 2 slots.
        levels: products in a row that a fresh ciphertext stands.
        scale: bits of the scale and of each prime but the first; 30 to 59.
        first: bits of the last prime left; `first - scale` bits are room for values above 1.
        digits: parts into which a ciphertext is decomposed for key switching. More need less modulus for
            security, and make key switches slower and keys larger.
        budget: levels of the two linear transforms of bootstrapping, or None without it.

    Raises:
        BadInput: if a value is out of range, or the modulus is too large for 128 bits of security.

    Example:
        >>> Parameters(ring=15, levels=11, scale=45).slots
        16384
    """

    ring: int
    levels: int
    scale: int = 45
    first: int = 60
    digits: int = 3
    budget: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.ring not in LARGEST:
            raise BadInput(
                "ring", self.ring, "is no log2 of a ring dimension", f"choose {', '.join(map(str, LARGEST))}"
            )
        if not 30 <= self.scale <= 59 or not self.scale <= self.first <= 60:
            raise BadInput("scale", self.scale, "is not in 30 to 59, or above `first`", "give one such as 45, first 60")
        if self.levels < 1:
            raise BadInput("levels", self.levels, "is below 1", "count the products in a row")
        if self.digits < 1:
            raise BadInput("digits", self.digits, "is below 1", "give one, such as 3")
        if self.modulus > LARGEST[self.ring]:
            raise BadInput(
                "levels",
                self.levels,
                f"need a modulus of {self.modulus} bits, and ring 2^{self.ring} is secure up to {LARGEST[self.ring]}",
                "take fewer levels, a smaller scale, more digits or a larger ring",
            )

    @property
    def slots(self) -> int:
        """Entries of an encrypted vector, N / 2."""
        return 2 ** (self.ring - 1)

    @property
    def modulus(self) -> int:
        """Bits of QP: the chain and the primes that key switching adds, as many as the largest digit needs."""
        chain = self.first + (self.levels + self.spare) * self.scale
        digit = self.first + (math.ceil((self.levels + 1 + self.spare) / self.parts) - 1) * self.scale
        # A digit that fills the special primes to the last bit may exceed them: primes are not powers of two.
        return chain + SPECIAL * math.ceil((digit + 1) / SPECIAL)

    @property
    def parts(self) -> int:
        """Digits that hold a prime: 3 digits of 2 primes hold 4 primes in 2 of them."""
        towers = self.levels + 1 + self.spare
        return math.ceil(towers / math.ceil(towers / self.digits))

    @property
    def spare(self) -> int:
        """Primes kept for a bootstrap: it scales its input down first, and that takes one at level 0 too."""
        return int(self.budget is not None)

    @property
    def refreshed(self) -> int:
        """Levels after a bootstrap.

        Raises:
            BadInput: if these parameters have no bootstrap, or it leaves nothing.
        """
        if self.budget is None:
            raise BadInput("budget", None, "is missing, so that nothing can be refreshed", "give one, such as (3, 3)")
        left = self.levels - BOOTSTRAP_DEPTH - sum(self.budget)
        if left < 1:
            raise BadInput(
                "levels", self.levels, "are used up by the bootstrap itself", f"give {self.levels - left + 1}"
            )
        return left

    @property
    def turns(self) -> frozenset[int]:
        """Rotations that the keys of a bootstrap allow; empty without one.

        OpenFHE goes through the log2(slots) layers of its transform in groups, c of them for each level of the
        budget, whose 2^c offsets it splits into 2^(floor(c / 2) + 2) baby steps and the giant steps between.
        """
        if self.budget is None:
            return frozenset()
        found = set()
        for levels in self.budget:
            layers = math.ceil((self.ring - 1) / levels)
            babies = 2 ** (layers // 2 + 2)
            if (self.ring - 1) % levels:
                continue  # Groups of two sizes: their steps are not needed here, and what is not claimed is made.
            for stride in (2 ** (layers * group) for group in range(levels)):
                offsets = {*range(1, babies), *range(babies, 2**layers + 1, babies)}
                found |= {stride * offset % self.slots for offset in offsets if offset <= 2**layers}
        return frozenset(found - {0})

    def ciphertext_bytes(self, level: int) -> int:
        """Return the size of a ciphertext at a level: two polynomials of N words a prime."""
        return 2 * 2**self.ring * 8 * (level + 1 + self.spare)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Parameters":
        """Return what `to_json` wrote.

        Raises:
            BadInput: if a field is missing or of the wrong kind.
        """
        try:
            budget = data.get("budget")
            pair = None if budget is None else (int(budget[0]), int(budget[1]))
            numbers = {name: int(data[name]) for name in ("ring", "levels", "scale", "first", "digits")}
        except (KeyError, TypeError, ValueError, IndexError) as wrong:
            raise BadInput("parameters", dict(data), f"are incomplete ({wrong})", "make the package again") from wrong
        return cls(**numbers, budget=pair)


BOOTSTRAP_DEPTH = 10
"""Levels that reducing modulo q takes in a bootstrap with a sparse secret, the two transforms aside."""
