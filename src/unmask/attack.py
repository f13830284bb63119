"""The two nouns of the adversary's side: an attack and its guesses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import TypeVar

from unmask.observation import Observation, Seen


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """One guess. It carries the attack's own loss, never a score.

    Args:
        tokens: one tuple of token ids per recovered sequence, special tokens included.
        bag: token ids known to occur although no order is known; may repeat.
        loss: the attack's own loss; the auditor keeps the guess with the lowest.
        images: (M, channels, height, width) recovered images with pixels in [0, 1], or None.
        residual: relative replay residual `||G(guess) - G|| / ||G||`, None if not computed.
        confidence: for each sequence, one number in [0, 1] per token; may be empty.
        note: one clause on how the guess came about, or why there is none.
        absent: the observation provably lacks the information.
        done: nothing better will follow.
    """

    tokens: tuple[tuple[int, ...], ...]
    loss: float
    images: Tensor | None = None
    bag: tuple[int, ...] = field(default=())
    residual: float | None = None
    confidence: tuple[tuple[float, ...], ...] = field(default=())
    note: str = ""
    absent: bool = False
    done: bool = False


ObservationT = TypeVar("ObservationT", bound=Seen, contravariant=True, default=Observation)


@runtime_checkable
class Attack(Protocol[ObservationT]):
    """Frozen settings and one generator of ever better guesses; `ObservationT` is the kind of observation it reads.

    `name` is the registered name, `source` the publication. `run` is called with the observation
    alone; it yields often, because the auditor stops it only between two guesses.
    """

    @property
    def name(self) -> str:
        """The registered name."""

    @property
    def source(self) -> str:
        """The publication."""

    def run(self, observation: ObservationT, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield guesses, better ones later; every yield is a place to stop."""
