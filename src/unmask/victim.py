"""The victim: a public model, a secret, and what is computed on the two. Attacks never see this."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unmask.public import PublicModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Secret:
    """The private sequences of one batch.

    Args:
        ids: (B, n) token ids with the tokenizer's prefix and suffix, short sequences filled at the end.
        mask: (B, n), True where a token counts.
        labels: (B,) class indices, or None if the loss is next-token prediction.
        texts: the B texts that the ids stand for.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor | None
    texts: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of sequences."""
        return len(self.ids)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens of each sequence, special ones included."""
        return tuple(int(length) for length in self.mask.sum(1))

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """The ids of each sequence without filling."""
        return tuple(tuple(row[keep].tolist()) for row, keep in zip(self.ids, self.mask, strict=True))


@runtime_checkable
class Mechanism(Protocol):
    """What a training client computes, as a function of parameters: nothing is changed in place."""

    def parameters(self) -> Mapping[str, Tensor]:
        """Return the trained parameters by their name in the model, each tensor once."""

    def loss(
        self, parameters: Mapping[str, Tensor], secret: Secret, *, dropout: bool, generator: torch.Generator
    ) -> Tensor:
        """Return the batch's training loss at `parameters`, a scalar through which gradients flow.

        Args:
            parameters: every tensor that `parameters()` names.
            secret: the batch.
            dropout: compute as in training, with masks drawn from `generator`.
            generator: randomness of the dropout masks.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Victim:
    """One party whose data is at risk. Only code that defends or scores may hold it.

    Args:
        model: what everyone knows.
        mechanism: what the victim computes on its secret.
        secret: the private batch, or None where only its trace is known, such as a saved gradient.
    """

    model: PublicModel
    mechanism: Mechanism
    secret: Secret | None
