"""Seconds and bytes of each operation of CKKS at a level, before any key is made.

What is counted are passes over one residue polynomial of N words: number-theoretic transforms, multiplications of
words, and results written to memory. A ciphertext of level l has t = l + 1
residues, a key switch k more from the special modulus, and the ciphertext is cut into digits of a residues, of which
b = ceil(t / a) are in use. The nanoseconds were fitted to OpenFHE 1.6.1 at N = 2^15, levels 8, 4 and 2: rotation
47, 24, 12 ms of one core measured, 44, 22, 11 by this; sum 0.7 and 0.7; product with a vector, rescaled, 12 and 11.
"""

from dataclasses import dataclass
from math import ceil

from unmask.he.parameters import SPECIAL, Parameters

WORD = 8
"""Bytes of a residue."""
BESIDE = 5
"""Keys of a bootstrap besides those for turning: conjugation, two sums of parts, into a sparse secret and out."""
BASE = 350 * 2**20
"""Bytes of a worker process before it holds anything."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Nanoseconds of one core for one word of one residue, unless said otherwise.

    Args:
        transform: of a number-theoretic transform at N = 2^16.
        multiply: of a modular multiplication and addition.
        write: of a result in fresh memory.
        encode: of encoding a vector, for one slot, transforms aside.
        call: microseconds of any command, whatever it does.
    """

    transform: float
    multiply: float
    write: float
    encode: float
    call: float


MEASURED = Speed(transform=14.4, multiply=2.0, write=1.2, encode=150.0, call=200.0)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs for parameters.

    Args:
        parameters: ring, levels and digits.
        speed: of the machine.
    """

    parameters: Parameters
    speed: Speed = MEASURED

    @property
    def special(self) -> int:
        """k, residues of the special modulus."""
        chain = self.parameters.first + self.parameters.levels * self.parameters.scale
        return (self.parameters.modulus - chain) // SPECIAL

    def decomposition(self, level: int) -> float:
        """Cutting into digits and raising each to the full modulus."""
        towers, digits, width = self._sizes(level)
        wide = towers + self.special
        return self._seconds(digits * wide, sum(width * (wide - width) for _ in range(digits)))

    def inner(self, level: int) -> float:
        """The product of the digits with a key."""
        towers, digits, _ = self._sizes(level)
        return self._seconds(0, 3 * digits * (towers + self.special))

    def down(self, level: int) -> float:
        """Dividing by the special modulus."""
        towers = level + 1
        return self._seconds(2 * (towers + self.special), 2 * towers * (self.special + 1))

    def rotation(self, level: int) -> float:
        """A rotation by itself, or a relinearisation."""
        return self.decomposition(level) + self.inner(level) + self.down(level)

    def hoisted(self, level: int) -> float:
        """A rotation whose decomposition is there already."""
        return self.inner(level) + self.down(level)

    def giant(self, level: int) -> float:
        """A rotation of a sum that stays in the full modulus."""
        return self.decomposition(level) + self.inner(level)

    def product(self, level: int) -> float:
        """A product of two ciphertexts, neither relinearised nor rescaled."""
        return self._seconds(0, 5 * (level + 1), 3 * (level + 1))

    def plain_product(self, level: int) -> float:
        """A product with an encoded vector, added to a sum."""
        return self._seconds(0, 4 * (level + 1), 2 * (level + 1))

    def scalar_product(self, level: int) -> float:
        """A product with a number, added to a sum."""
        return self._seconds(0, 4 * (level + 1), 4 * (level + 1))

    def addition(self, level: int) -> float:
        """A sum."""
        return self._seconds(0, 0, 2 * (level + 1))

    def rescale(self, level: int) -> float:
        """Dividing by the last prime."""
        return self._seconds(2 * (level + 1), 2 * (level + 1), 2 * level)

    def encoding(self, level: int) -> float:
        """Making a plaintext of a vector."""
        return self._seconds(level + 1, level + 1, level + 1) + self.speed.encode * self.parameters.slots * 1e-9

    def bootstrap(self) -> float:
        """A refreshed ciphertext: as many rotations near the top as 0.60 s of one core at N = 2^12 say."""
        return 40 * self.rotation(max(1, self.parameters.levels - 4))

    @property
    def call(self) -> float:
        """Sending a command."""
        return self.speed.call * 1e-6

    @property
    def key_bytes(self) -> int:
        """A key for one rotation, or for relinearising."""
        towers = self.parameters.levels + 1 + self.special
        return 2 * self.parameters.parts * towers * WORD * 2**self.parameters.ring

    @property
    def bootstrap_bytes(self) -> int:
        """Keys and precomputed transforms of bootstrapping.

        A transform of c layers of butterflies has 2^(c + 1) - 1 diagonals, which are kept with the special modulus:
        those that come first at the top, those that come last just above what is left.
        """
        p, held = self.parameters, (len(self.parameters.turns) + BESIDE) * self.key_bytes
        if p.budget is None:
            return 0
        for levels, top in zip(p.budget, (p.levels + 1, p.refreshed + p.budget[1]), strict=True):
            vectors = 2 ** (ceil((p.ring - 1) / levels) + 1) - 1
            for step in range(levels):
                words = WORD * 2**p.ring * (top - step + 1 + self.special)
                held += vectors * (words + 16 * p.slots)
        return held

    def plain_bytes(self, level: int) -> int:
        """An encoded vector: its residues, and the complex numbers that the library keeps."""
        return WORD * 2**self.parameters.ring * (level + 1) + 16 * self.parameters.slots

    def _sizes(self, level: int) -> tuple[int, int, int]:
        towers = level + 1
        width = ceil((self.parameters.levels + 1) / self.parameters.parts)
        return towers, ceil(towers / width), width

    def _seconds(self, transforms: int, products: int, written: int = 0) -> float:
        words = 2**self.parameters.ring
        scaled = transforms * self.parameters.ring / 16
        speed = self.speed
        return 1e-9 * words * (speed.transform * scaled + speed.multiply * products + speed.write * written)
