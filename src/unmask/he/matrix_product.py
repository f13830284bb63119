"""The product of two encrypted square matrices (Jiang, Kim, Lauter and Song 2018), several shifts at a time.

C = sum_k A_k * B_k entrywise, with A_k[i, j] = A[i, i + j + k] and B_k[i, j] = B[i + j + k, j]. The slots are
((i d + j) copies + s), where copy s holds the shift by s from the start: one product then serves `copies` values of
k. Since the rows fill the whole ring, B_(k + m) is a rotation of B_k; A_(k + m) shifts within rows, which takes two
rotations and a mask. All products are summed before they are relinearised. Three levels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.he.backend import Ciphertext, Evaluator, Prepared
from unmask.he.linear_map import LinearMap

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MatrixProduct:
    """C = A B for (d, d) matrices, d a power of two.

    Args:
        dimension: d.
        slots: entries of a vector, at least d^2.

    Raises:
        BadInput: if d is no power of two, or the matrix does not fit.

    Example:
        >>> MatrixProduct(dimension=64, slots=16384).copies
        4
    """

    dimension: int
    slots: int

    def __post_init__(self) -> None:
        d = self.dimension
        if d < 2 or d & (d - 1) or d * d > self.slots or self.copies > d:
            rule = f"is no power of two from 2 on that fits {self.slots} slots, at most d copies"
            raise BadInput("dimension", d, rule, "pad the matrices, or take another ring")

    @property
    def copies(self) -> int:
        """Shifts that one product serves."""
        return self.slots // self.dimension**2

    def pack(self, matrix: Array) -> Array:
        """Return the slots of a (d, d) matrix, each entry `copies` times."""
        return np.repeat(matrix.reshape(-1), self.copies)

    def unpack(self, slots: Array) -> Array:
        """Return the (d, d) product: the first copy holds it."""
        return slots[:: self.copies].reshape(self.dimension, self.dimension)

    def maps(self) -> tuple[LinearMap, LinearMap, tuple[LinearMap, ...]]:
        """Return what makes the A_s, what makes the B_s, and the shifts of A by `copies`, 2 `copies`, ... columns."""
        d, c = self.dimension, self.copies
        i, j, s = np.meshgrid(np.arange(d), np.arange(d), np.arange(c), indexing="ij")
        first = self._gathered((i * d + (i + j + s) % d) * c + s, 16)
        second = self._gathered((((i + j + s) % d) * d + j) * c + s, 8)
        shifts = tuple(self._gathered((i * d + (j + k) % d) * c + s, 0) for k in range(c, d, c))
        return first, second, shifts

    @property
    def steps(self) -> frozenset[int]:
        """Rotation keys that it needs."""
        first, second, shifts = self.maps()
        keys = first.steps | second.steps | frozenset(step for shift in shifts for step in shift.steps)
        return keys | frozenset(self._rows()) | frozenset(self._folds())

    def _rows(self) -> list[int]:
        return [k * self.dimension * self.copies for k in range(self.copies, self.dimension, self.copies)]

    def _folds(self) -> list[int]:
        return [2**k for k in range(self.copies.bit_length() - 1)]

    def _gathered(self, source: NDArray[np.int_], babies: int) -> LinearMap:
        """Return y[t] = x[source[t]], in baby steps below `babies` units; a unit is the least distance moved.

        Args:
            source: index for each slot.
            babies: inner steps; 0 for no outer ones.
        """
        source = source.reshape(-1)
        target = np.arange(self.slots)
        # Between minus and plus half a ring, so that neighbouring distances share their giant step.
        moves = (source - target + self.slots // 2) % self.slots - self.slots // 2
        unit = int(np.gcd.reduce(np.unique(np.abs(moves[moves != 0]))))
        diagonals: dict[tuple[int, int], Array] = {}
        for move in np.unique(moves):
            baby = int(move) % (unit * babies) if babies else int(move)
            giant = int(move) - baby
            mask = np.roll((moves == move).astype(np.float64), giant)
            diagonals[giant % self.slots, baby % self.slots] = mask
        return LinearMap(diagonals=diagonals)

    def prepare(self, evaluator: Evaluator, level: int) -> "Held":
        """Hand the masks to an evaluator, for matrices of a level of at least 3."""
        first, second, shifts = self.maps()
        return Held(
            plan=self,
            first=evaluator.prepare(first, level),
            second=evaluator.prepare(second, level),
            shifts=tuple(evaluator.prepare(shift, level - 1) for shift in shifts),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """A matrix product whose masks an evaluator holds."""

    plan: MatrixProduct
    first: Prepared
    second: Prepared
    shifts: tuple[Prepared, ...]

    def __call__(self, evaluator: Evaluator, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Return the encrypted product; `MatrixProduct.unpack` reads it."""
        (left,) = evaluator.linear(a, [self.first])
        (right,) = evaluator.linear(b, [self.second])
        lefts = [evaluator.drop(left, left.level - 1), *(evaluator.linear(left, self.shifts) if self.shifts else ())]
        rights = evaluator.rotate_many(evaluator.drop(right, right.level - 1), [0, *self.plan._rows()])
        total = evaluator.multiply_sum(list(zip(lefts, rights, strict=True)))
        for step in self.plan._folds():
            total = evaluator.add(total, evaluator.rotate(total, step))
        return total
