"""A linear map on slots as rotated diagonals, which a backend applies in one call."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMap:
    """y = sum_g rot_g( sum_b v_{g,b} * rot_b(x) ) + bias, where rot_k(x)[i] = x[i + k mod slots].

    The inner rotations, baby steps, are of one ciphertext and so share their decomposition (hoisting);
    the outer ones, giant steps, are of sums. One level is used, whatever the number of terms.

    Args:
        diagonals: (giant, baby) to the vector v_{g,b}, of one entry a slot; the caller has already rotated it
            by -g. Only non-zero vectors need to be there. Steps lie in [0, slots).
        bias: vector added at the end, or None.

    Raises:
        BadInput: if there is no diagonal or their lengths differ.

    Example:
        >>> import numpy as np
        >>> twice = LinearMap(diagonals={(0, 0): np.full(4, 2.0)})
        >>> twice.babies, twice.giants
        ((0,), (0,))
    """

    diagonals: Mapping[tuple[int, int], Array]
    bias: Array | None = None

    def __post_init__(self) -> None:
        lengths = {len(vector) for vector in self.diagonals.values()}
        lengths |= set() if self.bias is None else {len(self.bias)}
        if not self.diagonals or len(lengths) != 1:
            raise BadInput("diagonals", sorted(lengths), "are missing or of several lengths", "give one entry a slot")
        steps = [step for pair in self.diagonals for step in pair]
        if min(steps) < 0 or max(steps) >= self.slots:
            raise BadInput("steps", (min(steps), max(steps)), "leave [0, slots)", f"take them modulo {self.slots}")

    @property
    def slots(self) -> int:
        """Entries of each vector."""
        return len(next(iter(self.diagonals.values())))

    @property
    def babies(self) -> tuple[int, ...]:
        """Distinct inner steps, sorted; 0 needs no rotation."""
        return tuple(sorted({baby for _, baby in self.diagonals}))

    @property
    def giants(self) -> tuple[int, ...]:
        """Distinct outer steps, sorted; 0 needs no rotation."""
        return tuple(sorted({giant for giant, _ in self.diagonals}))

    @property
    def steps(self) -> frozenset[int]:
        """Rotation keys that it needs."""
        return frozenset(self.babies + self.giants) - {0}

    def __call__(self, x: Array) -> Array:
        """Return y in clear, for a vector of one entry a slot."""
        total = np.zeros(self.slots)
        for giant in self.giants:
            inner = sum(v * np.roll(x, -b) for (g, b), v in self.diagonals.items() if g == giant)
            total += np.roll(inner, -giant)
        return total if self.bias is None else total + self.bias
