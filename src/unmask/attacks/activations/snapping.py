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
TOLD = 0.3
"""Cosine above which a fit goes on from where the last one ended: unrelated directions reach 0.25 to 0.29."""
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
        cosines: (n,) of the nearest tokens' directions and the fitted ones; 1 where the token was held.
        loss: after the looks at which losses are compared.
        solved: whether the guess explains what was seen.
    """

    ids: Tensor
    free: Tensor
    coordinates: Tensor
    guess: Tensor
    leads: Tensor
    cosines: Tensor
    loss: float
    solved: bool


@dataclass(kw_only=True, eq=False)
class Snapping:
    """Alternate fits of the unknown embeddings with holding the tokens that they point at most plainly.

    Tokens that a fit says nothing about begin the next one at the mean token: what was made of them while their
    neighbours were wrong leads nowhere. Held tokens are kept if the fit of the others ends no higher, for a wrong
    one leaves them something that they cannot explain. Otherwise, and wherever the loss pulls at one of the held
    far more than at the rest, that one is let go; twice as many each time that this does not help.

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

    def decode(self, coordinates: Tensor, ids: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens (n,) that coordinates point at, their leads over the second (n,) and cosines (n,)."""
        guess, leads, told = ids.clone(), torch.ones(len(ids)), torch.ones(len(ids))
        where = free.nonzero()[:, 0]
        if len(where):
            cosines, tokens = self.codebook.nearest(coordinates[where], 2)
            guess[where], leads[where], told[where] = tokens[:, 0], cosines[:, 0] - cosines[:, 1], cosines[:, 0]
        return guess, leads, told

    def _fit(self, ids: Tensor, free: Tensor, start: Tensor | None = None) -> Generator[Look, None, Fit]:
        size = (self.target.length, self.codebook.table.shape[1])
        coordinates = torch.zeros(size) if start is None else start
        if self.chance is not None and start is None:
            coordinates = SPREAD * torch.randn(size, generator=self.chance)
        guess, leads, told = self.decode(coordinates, ids, free)
        rounds = self.descent.fit(coordinates, ids, free, STEPS, MOST) if bool(free.any()) else ()
        residual = float("inf") if bool(free.any()) else float(self.target.residuals(ids[None])[0])
        compared = float("inf")
        for look, (found, loss) in enumerate(rounds, 1):
            coordinates, compared = found, loss if look <= LOOKS else compared
            guess, leads, told = self.decode(coordinates, ids, free)
            residual = float(self.target.residuals(guess[None])[0])
            yield guess, residual, leads
            if residual <= self.exact or (look >= LOOKS and float(leads[free].max()) > PLAIN):
                break
        return Fit(
            ids=ids,
            free=free,
            coordinates=coordinates,
            guess=guess,
            leads=leads,
            cosines=told,
            loss=compared,
            solved=residual <= self.exact,
        )

    def _changed(self, fit: Fit, new: Tensor, gone: Tensor) -> Generator[Look, None, Fit]:
        ids, free = fit.ids.clone(), fit.free.clone()
        ids[new], free[new], free[gone] = fit.guess[new], False, True
        start = fit.coordinates.where((fit.free & (fit.cosines > TOLD))[:, None], torch.tensor(0.0))
        return (yield from self._fit(ids, free, start))

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
