"""What a server has to know of a compiled circuit, and what it asks of it."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from unmask.he.backend import Ciphertext, Evaluator
from unmask.he.parameters import Parameters

Progress = Callable[[str, float], None]
"""Told the name of what was finished and the share of the whole, in [0, 1]."""
Run = Callable[[Sequence[Ciphertext], Progress], Sequence[Ciphertext]]
"""A circuit whose weights the evaluator holds."""


@runtime_checkable
class Servable(Protocol):
    """A compiled circuit."""

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
