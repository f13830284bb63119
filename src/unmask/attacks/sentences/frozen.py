"""Score thousands of changed sentences at once, as if the unchanged tokens did not react."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unmask.attacks.evidence import Evidence, captured
from unmask.attacks.rough import rough

AT_ONCE = 640
SCORED_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenTable:
    """Rows of every option at every free position, in a context that stays as it is.

    A sentence is a choice of one option per free position. An option is a token of the sentence
    that moves there while its old copy is hidden, which leaves the bag of words intact and is
    the better guide to order, or another token that takes the place of the one there.

    Args:
        evidence: whose bases are explained.
        positions: N free positions.
        options: K options per position.
        fixed: number of rows of known positions, which come first.
        rows: (H, fixed + N K, d_b), option k of the i-th free position at `fixed + i K + k`.
    """

    evidence: Evidence
    positions: int
    options: int
    fixed: int
    rows: Tensor

    @cached_property
    def gram(self) -> Tensor:
        """Inner products (H, R, R) of the rows."""
        return self.rows @ self.rows.transpose(1, 2)

    @cached_property
    def inside(self) -> Tensor:
        """Inner products (H, R, r) of the rows with the bases."""
        return self.rows @ self.evidence.bases.to(self.rows.dtype)

    def scores(self, choices: Tensor) -> Tensor:
        """Return the unexplained share (M,) for choices (M, N)."""
        parts = []
        for part in self._index(choices).split(SCORED_AT_ONCE):
            gram = self.gram[:, part[:, :, None], part[:, None, :]]
            parts.append(captured(gram, self.inside[:, part], ridge=1e-5))
        return 1 - torch.cat(parts) / self.evidence.rank

    def _index(self, choices: Tensor) -> Tensor:
        free = self.fixed + torch.arange(self.positions) * self.options + choices
        return torch.cat([torch.arange(self.fixed).expand(len(choices), -1), free], 1)

    def greedy(self) -> Tensor:
        """Return a choice (N,) by orthogonal matching pursuit over (position, option) pairs.

        Each step takes the row whose part orthogonal to the rows taken so far explains most of
        the bases for its length, so that a second row for the same word gains nothing.
        """
        rows, inside = self.rows.double().clone(), self.inside.double().clone()
        length = rows.square().sum(-1)
        choice = torch.zeros(self.positions, dtype=torch.long)
        open_positions = torch.ones(self.positions, dtype=torch.bool)

        def take(index: int) -> None:
            norm = rows[:, index].norm(dim=-1).clamp_min(1e-12)
            unit, share = rows[:, index] / norm[:, None], inside[:, index] / norm[:, None]
            along = torch.einsum("hrb,hb->hr", rows, unit)
            rows.sub_(along[..., None] * unit[:, None])
            inside.sub_(along[..., None] * share[:, None])

        for index in range(self.fixed):
            take(index)
        for _ in range(self.positions):
            left = rows.square().sum(-1)
            gain = inside.square().sum(-1) / left.clamp_min(1e-12)
            gain = gain.masked_fill(left < 1e-3 * length, 0).sum(0)[self.fixed :].view(self.positions, -1)
            best = int(gain.masked_fill(~open_positions[:, None], -1).argmax())
            position, option = divmod(best, self.options)
            choice[position], open_positions[position] = option, False
            take(self.fixed + best)
        return choice

    def distances(self, *, relative: bool) -> Tensor:
        """Return each option's distance to the span at each position (N, K), averaged over the blocks.

        In a metric whitened by what contexts add, the squared distance is minus twice the log
        likelihood of the option; relative to its length it forgives options that contexts move more.
        """
        length = self.rows[:, self.fixed :].square().sum(-1)
        outside = length - self.inside[:, self.fixed :].square().sum(-1)
        shown = outside / length.clamp_min(1e-30) if relative else outside
        return shown.mean(0).view(self.positions, self.options)


def options(evidence: Evidence, ids: Tensor, free: Tensor, extra: Tensor) -> FrozenTable:
    """Return the table of every token of a sentence, and of some others, at every free position.

    Args:
        evidence: whose bases are explained.
        ids: (n,) sentence, whose other tokens stay.
        free: (N,) positions that may change; option k < N is the token at `free[k]`, moved.
        extra: (K,) further tokens, options N to N + K - 1, which take the place of the one there.
    """
    count, width = len(free), len(free) + len(extra)
    where = free.repeat_interleave(width)
    tokens = torch.cat([ids[free], extra]).repeat(count)
    hidden = torch.cat([free.expand(count, -1), free[:, None].expand(-1, len(extra))], 1).flatten()
    return _table(evidence, ids, free, where, tokens, hidden, width)


def substitutions(evidence: Evidence, ids: Tensor, free: Tensor, pool: Tensor) -> FrozenTable:
    """Return the table of every pool token at every free position of a sentence.

    Args:
        evidence: whose bases are explained.
        ids: (n,) sentence, whose other tokens stay.
        free: (N,) positions that may change.
        pool: (K,) tokens.
    """
    where = free.repeat_interleave(len(pool))
    return _table(evidence, ids, free, where, pool.repeat(len(free)), where, len(pool))


def _table(
    evidence: Evidence, ids: Tensor, free: Tensor, where: Tensor, tokens: Tensor, hidden: Tensor, width: int
) -> FrozenTable:
    model, place = evidence.model, evidence.place
    own = model.inputs(ids[None], [place])[place.name][0]
    with rough():
        parts = [
            model.substituted_inputs(ids, *part[:2], place, hidden=part[2])
            for part in zip(where.split(AT_ONCE), tokens.split(AT_ONCE), hidden.split(AT_ONCE), strict=True)
        ]
    changed = torch.cat(parts).to(own.dtype)
    known = torch.ones(len(ids), dtype=torch.bool)
    known[free] = False
    kept = own[known]
    if evidence.differences:
        kept, changed = own[known][1:] - own[0], changed - own[0]
    rows = evidence.blocks(torch.cat([kept, changed]))
    return FrozenTable(evidence=evidence, positions=len(free), options=width, fixed=len(kept), rows=rows)
