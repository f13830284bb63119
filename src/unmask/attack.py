"""The two nouns of the adversary's side: an attack and its guesses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch

from unmask.observation import Observation


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """One guess. It carries the attack's own loss, never a score.

    Args:
        tokens: one tuple of token ids per recovered sequence, special tokens included.
        bag: token ids known to occur although no order is known; may repeat.
        loss: the attack's own loss; the auditor keeps the guess with the lowest.
        residual: relative replay residual `||G(guess) - G|| / ||G||`, None if not computed.
        confidence: for each sequence, one number in [0, 1] per token; may be empty.
        note: one clause on how the guess came about, or why there is none.
        absent: the observation provably lacks the information.
        done: nothing better will follow.
    """

    tokens: tuple[tuple[int, ...], ...]
    loss: float
    bag: tuple[int, ...] = field(default=())
    residual: float | None = None
    confidence: tuple[tuple[float, ...], ...] = field(default=())
    note: str = ""
    absent: bool = False
    done: bool = False


@runtime_checkable
class Attack(Protocol):
    """Frozen settings and one generator of ever better guesses.

    `name` is the registered name, `source` the publication. `run` is called with the observation
    alone; it yields often, because the auditor stops it only between two guesses.
    """

    @property
    def name(self) -> str:
        """The registered name."""

    @property
    def source(self) -> str:
        """The publication."""

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield guesses, better ones later; every yield is a place to stop."""
