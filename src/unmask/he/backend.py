"""What a circuit may ask of a CKKS library: a dozen operations on opaque ciphertexts.

Two roles, so that a server cannot decrypt by mistake: a `KeyHolder` encrypts and decrypts, an `Evaluator`
computes with public keys. What passes between them are bytes.

Levels count down: a fresh ciphertext has `parameters.levels`, one with level 0 can only be added and rotated.
Every product is rescaled before it is returned, so that all ciphertexts have the same scale and a level is
all that a circuit has to keep track of. Operands of different levels meet at the lower one.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from unmask.he.counts import Counts
from unmask.he.linear_map import LinearMap
from unmask.he.parameters import Parameters
from unmask.poly.polynomial import Polynomial

Array = NDArray[np.float64]


@runtime_checkable
class Ciphertext(Protocol):
    """An encrypted vector, held by its backend."""

    @property
    def level(self) -> int:
        """Products that can still follow."""


@runtime_checkable
class Plaintext(Protocol):
    """A vector encoded for one level."""

    @property
    def level(self) -> int:
        """Level of the ciphertexts that it goes with; higher ones are brought down to it."""


@runtime_checkable
class Prepared(Protocol):
    """A linear map whose diagonals the backend holds."""

    @property
    def level(self) -> int:
        """Level of the ciphertexts that it takes; higher ones are brought down to it. The result has one less."""


@runtime_checkable
class KeyHolder(Protocol):
    """The client's side: it alone has the secret key."""

    @property
    def parameters(self) -> Parameters:
        """Ring, levels and scale."""

    def encrypt(self, values: Array, level: int | None = None) -> bytes:
        """Return an encrypted vector.

        Args:
            values: (slots,) or shorter, filled up with zeros.
            level: level of the ciphertext, by default the highest. A lower one is smaller to send.
        """

    def decrypt(self, ciphertext: bytes) -> Array:
        """Return the vector, (slots,), of a ciphertext that an evaluator serialised.

        Raises:
            BadInput: if it is truncated, of another key, or does not decrypt to numbers of sensible size.
        """


@runtime_checkable
class Evaluator(Protocol):
    """The server's side: public keys only. An operation never changes its operands."""

    @property
    def parameters(self) -> Parameters:
        """Ring, levels and scale."""

    @property
    def slots(self) -> int:
        """Entries of a vector."""

    @property
    def counts(self) -> Counts:
        """What was done so far."""

    def encode(self, values: Array, level: int) -> Plaintext:
        """Return a vector for `add_plain` and `multiply_plain` at one level."""

    def prepare(self, linear_map: LinearMap, level: int, *, streamed: bool = False) -> Prepared:
        """Return a linear map for inputs of one level.

        Args:
            linear_map: its diagonals go to the backend once.
            level: of the ciphertexts it takes.
            streamed: encode each diagonal when it is used and forget it: slower, but N (level + 1) 8 bytes
                a diagonal are saved.
        """

    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Return a + b; no level."""

    def subtract(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Return a - b; no level."""

    def add_plain(self, a: Ciphertext, b: Plaintext) -> Ciphertext:
        """Return a + b; no level."""

    def multiply_plain(self, a: Ciphertext, b: Plaintext) -> Ciphertext:
        """Return a * b; one level."""

    def multiply(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Return a * b, relinearised; one level. The same operand twice is squared, which is cheaper."""

    def multiply_sum(self, pairs: Sequence[tuple[Ciphertext, Ciphertext]]) -> Ciphertext:
        """Return sum_i a_i * b_i with one relinearisation for all; one level."""

    def combine(self, terms: Sequence[Ciphertext], weights: Sequence[float], constant: float = 0.0) -> Ciphertext:
        """Return sum_i w_i a_i + c for numbers w_i and c; one level."""

    def add_constant(self, a: Ciphertext, constant: float) -> Ciphertext:
        """Return a + c; no level."""

    def rotate(self, a: Ciphertext, step: int) -> Ciphertext:
        """Return y with y[i] = a[i + step mod slots]; no level. A step of 0 returns a."""

    def rotate_many(self, a: Ciphertext, steps: Sequence[int]) -> tuple[Ciphertext, ...]:
        """Return `rotate` by each step; the decomposition is shared, which nearly halves the cost."""

    def linear(self, a: Ciphertext, maps: Sequence[Prepared]) -> tuple[Ciphertext, ...]:
        """Return each map of a; one level. All maps share the rotations of a."""

    def polynomial(self, a: Ciphertext, polynomial: Polynomial) -> Ciphertext:
        """Return p(a); `series.levels(polynomial)` levels: one less on the interval (-1, 1) than on others."""

    def drop(self, a: Ciphertext, level: int) -> Ciphertext:
        """Return a at a lower level, where operations are cheaper."""

    def bootstrap(self, a: Ciphertext) -> Ciphertext:
        """Return a with `parameters.refreshed` levels; its values have to lie in [-1, 1]."""

    def serialise(self, a: Ciphertext) -> bytes:
        """Return what the key holder decrypts."""

    def load(self, ciphertext: bytes) -> Ciphertext:
        """Return a ciphertext that the key holder sent.

        Raises:
            BadInput: if it is truncated, of another key or other parameters.
        """

    def wait(self) -> None:
        """Return when everything asked for so far is done; a backend may work in the background until then.

        Raises:
            BackendError: if something asked for failed.
        """
