"""What makes a sentence likely before anything was seen."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.public import PublicModel


@runtime_checkable
class Prior(Protocol):
    """A language model with the victim's tokenizer.

    `name` is printed in the report. Called with ids (C, n) it returns (C,) scores that are low
    for likely sentences, such as the mean negative log-likelihood of a token.
    """

    @property
    def name(self) -> str:
        """Return what the report calls it."""

    def __call__(self, ids: Tensor) -> Tensor:
        """Return the score (C,) of ids (C, n), special tokens included."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VictimPrior:
    """A causal victim as its own language prior: its weights are public anyway.

    Args:
        model: a model whose `next_token_logits` is not None.
    """

    model: PublicModel

    @property
    def name(self) -> str:
        """Return what the report calls it."""
        return f"the victim {self.model.name} itself"

    def __call__(self, ids: Tensor) -> Tensor:
        """Return the mean negative log-likelihood per token (C,) of ids (C, n).

        Raises:
            ValueError: if the model predicts no next token.
        """
        total = torch.zeros(len(ids))
        for end in range(1, ids.shape[1]):
            logits = self.model.next_token_logits(ids[:, :end])
            if logits is None:
                raise ValueError(f"{self.model.name} predicts no next token and cannot be a prior")
            total = total + F.cross_entropy(logits, ids[:, end], reduction="none")
        return total / max(1, ids.shape[1] - 1)
