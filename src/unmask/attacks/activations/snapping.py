"""From fitted embeddings to tokens: hold those that are plain, fit the others anew, prove the whole by replay."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.activations.activation_target import Target
from unmask.attacks.activations.embedding_descent import Codebook, EmbeddingDescent
from unmask.rng import generator

STEPS = 30
"""Steps between two looks at the tokens."""
LOOKS, MOST = 3, 8
"""Looks before a fit ends, if a token is plain by then, and at most; losses are compared after the first so many."""
PLAIN = 0.1
"""Lead in cosine over the second token with which a token is plain."""
SHARE = 0.7
"""Where few tokens are plain, those are held whose lead is this share of the longest one or more."""
FEW, OUTLIER = 4, 1.5
"""A held token at which the loss pulls so many times the median is let go at once, where at least so many are held."""
WORSE = 1.25
"""Factor of the loss at which a fit with more tokens held says that one of them is wrong."""
SPREAD = 0.3
"""Deviation of the starts once every token was let go, where a start at the mean token was a dead end."""

Look = tuple[Tensor, float, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Where a fit of the free tokens ended.

    Args:
        ids: (n,) tokens held and known.
        free: (n,) True where the embedding was fitted.
        coordinates: (n, d) what was fitted.
        guess: (n,) nearest tokens.
        leads: (n,) by how much the nearest leads the second nearest; 1 where the token was held.
        loss: after the looks at which losses are compared.
        solved: whether the guess explains what was seen.
    """

    ids: Tensor
    free: Tensor
    coordinates: Tensor
    guess: Tensor
    leads: Tensor
    loss: float
    solved: bool


@dataclass(kw_only=True, eq=False)
class Snapping:
    """Alternate fits of the unknown embeddings with holding the tokens that they point at most plainly.

    Each fit begins at the mean token: what an earlier one made of the free tokens while others were wrong
    leads nowhere, and from there they come right once enough others are held. Held tokens are kept if the fit
    of the others ends no higher, for a wrong one leaves them something that they cannot explain. Otherwise the
    held token that the loss pulls at most is let go, twice as many each time that this does not help.

    Args:
        target: what was seen.
        codebook: the allowed tokens.
        exact: residual below which a guess explains what was seen.
    """

    target: Target
    codebook: Codebook
    exact: float
    descent: EmbeddingDescent = field(init=False)
    chance: torch.Generator | None = field(default=None, init=False)
    """Source of starts other than the mean token, or None for that one."""

    def __post_init__(self) -> None:
        self.descent = EmbeddingDescent(target=self.target, codebook=self.codebook)

    def run(self) -> Iterator[Look]:
        """Yield (ids (n,), replay residual, leads (n,)) of ever later guesses; endless unless solved."""
        target = self.target
        if not bool(target.free.any()):
            yield target.ids, float(target.residuals(target.ids[None])[0]), torch.ones(target.length)
            return
        fit = yield from self._fit(target.ids, target.free)
        refused: set[tuple[int, int]] = set()
        doubts, least = 1, fit.loss
        while not fit.solved:
            gone = self._pulled(fit, 1, OUTLIER)
            new = gone[:0] if len(gone) else self._plainest(fit, refused)
            trial = fit
            if len(new) or len(gone):
                trial = yield from self._changed(fit, new, gone)
                if trial.solved or len(gone) or trial.loss <= WORSE * least:
                    least = trial.loss if len(gone) else min(least, trial.loss)
                    refused, doubts = self._named(fit, gone), 1
                    fit = trial
                    continue
            if doubts >= int(target.free.sum()):
                self.chance, refused, doubts = self.chance or generator(0, "snapping"), set(), 1
                fit = yield from self._fit(target.ids, target.free)
            else:
                gone = self._pulled(trial, doubts)
                refused |= self._named(trial, gone)
                fit = yield from self._changed(trial, gone[:0], gone)
                doubts *= 2
            least = fit.loss

    def decode(self, coordinates: Tensor, ids: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (n,) that coordinates point at, and by how much the first leads the second (n,)."""
        guess, leads = ids.clone(), torch.ones(len(ids))
        where = free.nonzero()[:, 0]
        if len(where):
            cosines, tokens = self.codebook.nearest(coordinates[where], 2)
            guess[where], leads[where] = tokens[:, 0], cosines[:, 0] - cosines[:, 1]
        return guess, leads

    def _fit(self, ids: Tensor, free: Tensor) -> Generator[Look, None, Fit]:
        size = (self.target.length, self.codebook.table.shape[1])
        drawn = torch.zeros(size) if self.chance is None else torch.randn(size, generator=self.chance)
        coordinates = SPREAD * drawn
        guess, leads, compared = ids, torch.ones(len(ids)), float("inf")
        rounds = self.descent.fit(coordinates, ids, free, STEPS, MOST) if bool(free.any()) else ()
        residual = float("inf") if bool(free.any()) else float(self.target.residuals(ids[None])[0])
        for look, (found, loss) in enumerate(rounds, 1):
            coordinates, compared = found, loss if look <= LOOKS else compared
            guess, leads = self.decode(coordinates, ids, free)
            residual = float(self.target.residuals(guess[None])[0])
            yield guess, residual, leads
            if residual <= self.exact or (look >= LOOKS and float(leads[free].max()) > PLAIN):
                break
        solved = residual <= self.exact
        return Fit(ids=ids, free=free, coordinates=coordinates, guess=guess, leads=leads, loss=compared, solved=solved)

    def _changed(self, fit: Fit, new: Tensor, gone: Tensor) -> Generator[Look, None, Fit]:
        ids, free = fit.ids.clone(), fit.free.clone()
        ids[new], free[new], free[gone] = fit.guess[new], False, True
        return (yield from self._fit(ids, free))

    def _named(self, fit: Fit, positions: Tensor) -> set[tuple[int, int]]:
        return {(position, int(fit.ids[position])) for position in positions.tolist()}

    def _plainest(self, fit: Fit, refused: set[tuple[int, int]]) -> Tensor:
        """Return the positions (k,) to be held next."""
        leads = fit.leads.where(fit.free, torch.tensor(-1.0))
        for position, token in refused:
            if int(fit.guess[position]) == token:
                leads[position] = -1.0
        enough = min(PLAIN, SHARE * float(leads.max()))
        return ((leads >= 0) & (leads >= enough)).nonzero()[:, 0]

    def _pulled(self, fit: Fit, most: int, factor: float = 0.0) -> Tensor:
        """Return the positions (k,) of the held tokens that the loss pulls at most and above a multiple."""
        held = (self.target.free & ~fit.free).nonzero()[:, 0]
        if len(held) < (FEW if factor else 1):
            return held[:0]
        where = fit.free.nonzero()[:, 0]
        fitted = self.codebook.embeddings(fit.coordinates[where])
        embeddings = self.codebook.table[fit.ids].index_copy(0, where, fitted)
        pulls = self.descent.pulls(embeddings, self.chance or generator(0, "pulls"))[held]
        order = pulls.argsort(descending=True)[:most]
        return held[order[pulls[order] > factor * pulls.median()]]
