"""Offsets as sums of a baby step and a giant step, so that few rotations and keys serve many diagonals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import gcd

HOISTED, ROTATION, KEY = 0.55, 1.0, 0.3
"""Cost of a baby step, a giant step and a new key, in rotations. A key is memory, and seconds at set-up."""
DEAR = 3.0
"""Cost of a new key where a key takes 0.1 GB and more."""
CANDIDATES = 1024

Split = dict[int, tuple[int, int]]
"""Offset to (giant, baby), both in [0, slots)."""


@dataclass(kw_only=True)
class Steps:
    """Chooses steps for one map after another, preferring steps that have a key.

    Args:
        slots: steps are taken modulo this.
        known: steps with a key so far.
        key: cost of a new key, in rotations; more where keys are large.
    """

    slots: int
    known: set[int] = field(default_factory=set)
    key: float = KEY

    def split(self, maps: Sequence[Sequence[int]]) -> list[Split]:
        """Return a split for each map of one input; they share the baby steps."""
        moduli = [self._best(offsets, set()) for offsets in maps]
        for _ in range(2 if len(maps) > 1 else 0):
            for index, offsets in enumerate(maps):
                others = {b for k, m in enumerate(moduli) if k != index for _, b in self._by(maps[k], m).values()}
                moduli[index] = self._best(offsets, others)
        splits = [self._by(offsets, modulus) for offsets, modulus in zip(maps, moduli, strict=True)]
        for split in splits:
            self.learn(step for pair in split.values() for step in pair)
        return splits

    def learn(self, steps: object) -> None:
        """Remember that steps have a key."""
        self.known |= {step % self.slots for step in steps} - {0}  # type: ignore[attr-defined]

    def _best(self, offsets: Sequence[int], shared: set[int]) -> int:
        centred = [self._centred(offset) for offset in offsets]
        unit = reduce(gcd, centred, 0) or 1
        reach = min(CANDIDATES, max(abs(offset) for offset in centred) // unit + 1)
        return min((unit * k for k in range(1, reach + 1)), key=lambda m: self._cost(offsets, m, shared))

    def _cost(self, offsets: Sequence[int], modulus: int, shared: set[int]) -> float:
        pairs = self._by(offsets, modulus).values()
        babies, giants = {b for _, b in pairs} - {0} - shared, {g for g, _ in pairs} - {0}
        return HOISTED * len(babies) + ROTATION * len(giants) + self.key * len((babies | giants) - self.known)

    def _by(self, offsets: Sequence[int], modulus: int) -> Split:
        split = {}
        for offset in offsets:
            centred = self._centred(offset)
            baby = centred % modulus
            split[offset] = ((centred - baby) % self.slots, baby % self.slots)
        return split

    def _centred(self, offset: int) -> int:
        offset %= self.slots
        return offset - self.slots if offset > self.slots // 2 else offset


def rotations(splits: Sequence[Mapping[int, tuple[int, int]]]) -> tuple[int, int]:
    """Return how many baby and giant steps the maps of one input take together."""
    babies = {baby for split in splits for _, baby in split.values()} - {0}
    return len(babies), sum(len({giant for giant, _ in split.values()} - {0}) for split in splits)
