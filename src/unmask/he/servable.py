"""What the two sides have to know of a compiled circuit, and what they ask of it."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from unmask.he.backend import Ciphertext, Evaluator
from unmask.he.parameters import Parameters

Array = NDArray[np.float64]
Progress = Callable[[str, float], None]
"""Told the name of what was finished and the share of the whole, in [0, 1]."""
Run = Callable[[Sequence[Ciphertext], Progress], Sequence[Ciphertext]]
"""A circuit whose weights the evaluator holds."""


@runtime_checkable
class Servable(Protocol):
    """A compiled circuit, as the server sees it."""

    @property
    def digest(self) -> str:
        """Name of the circuit and its weights: a query for another is refused."""

    @property
    def parameters(self) -> Parameters:
        """Ring, levels and scale that keys have to have."""

    @property
    def rotations(self) -> tuple[int, ...]:
        """Steps that keys have to be there for."""

    @property
    def inputs(self) -> int:
        """Ciphertexts of one query."""

    @property
    def level(self) -> int:
        """Level at which they are sent."""

    @property
    def memory(self) -> int:
        """Bytes that one client's keys, the weights and the computation take."""

    @property
    def seconds(self) -> float:
        """Predicted time of one query."""

    def open(self, evaluator: Evaluator) -> Run:
        """Hand the weights to an evaluator, once for all queries of a client."""


@runtime_checkable
class Queryable(Servable, Protocol):
    """A compiled circuit, as the client sees it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What the outputs stand for; may be empty."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""

    def pack(self, inputs: Array) -> tuple[Array, ...]:
        """Return the vectors to encrypt, `inputs` of them a query.

        Args:
            inputs: as the circuit takes them, the first axis counting items.

        Raises:
            BadInput: if the shape differs, or a value lies outside of what the circuit was fitted for.
        """

    def unpack(self, slots: Sequence[Array]) -> Array:
        """Return the outputs of one query, (count, ...), of its decrypted vectors."""
