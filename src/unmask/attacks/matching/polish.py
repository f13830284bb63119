"""Improve a decoded guess by substitutions and moves, each replayed and compared with what was seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.layout import Layout
from unmask.attacks.matching.distances import Distance
from unmask.attacks.matching.moves import proposals
from unmask.attacks.replay import Replay


@dataclass(frozen=True, kw_only=True, eq=False)
class Polish:
    """Local search on one batch of ids.

    Args:
        replay: compares gradients.
        layout: which tokens are unknown.
        scores: (n, V), low where a token is likely at a position; infinity where it is impossible.
        table: (V, d) token embeddings.
        labels: (B,) classes, or None where the tokens are the targets.
        kept: substitutes per position from each source.
        moves: reorderings per sentence and round.
    """

    replay: Replay
    layout: Layout
    scores: Tensor
    table: Tensor
    labels: Tensor | None
    kept: int
    moves: int

    def losses(self, batches: Tensor) -> Tensor:
        """Return the mean cosine distance (C,) of candidate batches (C, B, n)."""
        targets = batches if self.labels is None else self.labels.expand(len(batches), -1)
        return self.replay.distances(batches, targets, Distance.COSINE)

    def round(self, ids: Tensor, loss: float, number: int, generator: torch.Generator) -> tuple[Tensor, float]:
        """Return a batch (B, n) no worse than `ids`, after one round of substitutions and moves.

        Substitutes come from two sources: the tokens whose embedding the loss's gradient points
        at (Ebrahimi et al. 2018, HotFlip), and the likeliest by score, a new slice of them each
        round. The best substitutes of several positions are also tried together.
        """
        slots = self.layout.free.nonzero()
        where, tokens = self._substitutes(ids, slots, number)
        pool = ids.repeat(len(where), 1, 1)
        pool[torch.arange(len(where)), slots[where, 0], slots[where, 1]] = tokens
        found = self.losses(pool)
        best = _best_of_each(found, where, len(slots))
        order = found[best].argsort()
        joined = ids.repeat(len(order), 1, 1)
        for rank, pick in enumerate(best[order].tolist()):
            row, column = slots[where[pick]].tolist()
            joined[rank:, row, column] = tokens[pick]
        pool = torch.cat([joined, self._reordered(ids, generator)])
        losses = self.losses(pool)
        pick = int(losses.argmin())
        return (pool[pick], float(losses[pick])) if losses[pick] < loss else (ids, loss)

    def _substitutes(self, ids: Tensor, slots: Tensor, number: int) -> tuple[Tensor, Tensor]:
        x = self.table[ids][None].clone().requires_grad_(True)
        targets = ids[None] if self.labels is None else self.labels[None]
        loss = self.replay.distances(x, targets, Distance.COSINE, differentiable=True)
        (slope,) = torch.autograd.grad(loss.sum(), [x])
        change = slope[0][slots[:, 0], slots[:, 1]] @ self.table.T
        possible = self.scores[slots[:, 1]]
        change = change.masked_fill(possible.isinf(), float("inf"))
        pointed = change.topk(self.kept, dim=1, largest=False).indices
        likely = possible.topk(self.kept * (number + 1), dim=1, largest=False).indices[:, self.kept * number :]
        tokens = torch.cat([pointed, likely], 1)
        where = torch.arange(len(slots))[:, None].expand_as(tokens)
        return where.flatten(), tokens.flatten()

    def _reordered(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        parts = [ids[None]]
        for sentence, free in enumerate(self.layout.free):
            if int(free.sum()) > 1:
                orders = proposals(free, self.moves, generator)
                pool = ids.repeat(len(orders), 1, 1)
                pool[:, sentence] = ids[sentence][orders]
                parts.append(pool)
        if len(ids) > 1:
            parts.append(self._exchanged(ids, generator))
        return torch.cat(parts)

    def _exchanged(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        """Exchange tokens of two sentences at one position: where a span cannot tell them apart."""
        pool = ids.repeat(self.moves, 1, 1)
        for row in pool:
            a, b = torch.randperm(len(ids), generator=generator)[:2].tolist()
            both = (self.layout.free[a] & self.layout.free[b]).nonzero()[:, 0]
            if len(both):
                at = both[torch.randint(len(both), (1,), generator=generator)]
                row[a, at], row[b, at] = row[b, at].clone(), row[a, at].clone()
        return pool


def _best_of_each(losses: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the index of the lowest loss in each group."""
    order = losses.argsort(descending=True, stable=True)
    best = torch.zeros(groups, dtype=torch.long)
    best[group[order]] = order  # the last write, of the lowest loss, stays
    return best
