"""From fitted embeddings to tokens: fix those that are plain, fit the others again, prove the whole by replay."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.activations.activation_target import Target
from unmask.attacks.activations.embedding_descent import Codebook, EmbeddingDescent

LOOK = 30
"""Steps between two looks at the tokens."""
FIRST, LATER, PATIENT = 5, 2, 4
"""Looks before tokens are fixed: at first, after some were, and where none could be."""
PLAIN = 0.1
"""Lead in cosine over the second token with which a token is fixed."""
SETBACK = 4.0
"""A fit whose loss grew by this factor after tokens were fixed takes them back."""


@dataclass(kw_only=True, eq=False)
class Snapping:
    """Alternate fits of the unknown embeddings with fixing the tokens that they point at most plainly.

    Args:
        target: what was seen.
        codebook: the allowed tokens.
        exact: residual below which a guess explains what was seen.
    """

    target: Target
    codebook: Codebook
    exact: float
    descent: EmbeddingDescent = field(init=False)

    def __post_init__(self) -> None:
        self.descent = EmbeddingDescent(target=self.target, codebook=self.codebook)

    def run(self) -> Iterator[tuple[Tensor, float, Tensor]]:
        """Yield (ids (n,), replay residual, leads (n,)) of ever later guesses; endless unless solved."""
        target = self.target
        ids, free = target.ids.clone(), target.free.clone()
        coordinates = torch.zeros(target.length, self.codebook.table.shape[1])
        before, looks, lead = float("inf"), FIRST, PLAIN
        fixed: Tensor = torch.zeros(0, dtype=torch.long)
        if not bool(free.any()):
            yield ids, float(target.residuals(ids[None])[0]), torch.ones(len(ids))
            return
        while True:
            loss, guess, leads = 0.0, ids, torch.ones(len(ids))
            for fitted in self.descent.fit(coordinates, ids, free, LOOK, looks):
                coordinates, loss = fitted
                guess, leads = self.decode(coordinates, ids, free)
                residual = float(target.residuals(guess[None])[0])
                yield guess, residual, leads
                if residual <= self.exact:
                    return
            if len(fixed) and loss > SETBACK * before:
                free[fixed] = True
                fixed, looks, lead, before = fixed[:0], PATIENT, 1.5 * lead, loss
                continue
            fixed = (free & (leads > lead)).nonzero()[:, 0]
            ids[fixed] = guess[fixed]
            free[fixed] = False
            before, looks = loss, LATER if len(fixed) else PATIENT
            if not bool(free.any()):
                # Every token is fixed and the whole is wrong: all are doubted again.
                free, fixed, lead = target.free.clone(), fixed[:0], 1.5 * lead

    def decode(self, coordinates: Tensor, ids: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (n,) that coordinates point at, and by how much the first leads the second (n,)."""
        guess, leads = ids.clone(), torch.ones(len(ids))
        where = free.nonzero()[:, 0]
        if len(where):
            cosines, tokens = self.codebook.nearest(coordinates[where], 2)
            guess[where], leads[where] = tokens[:, 0], cosines[:, 0] - cosines[:, 1]
        return guess, leads
