"""Rows of likely tokens at every position in random sentences of such tokens: a start and a metric for a sentence."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.evidence import AT_ONCE, Evidence
from unmask.attacks.probes import whitening
from unmask.attacks.sentences.frozen import FrozenTable

RIDGE = 0.1
"""Share of the mean eigenvalue added to the context covariance; 0.02 to 0.1 place words about equally well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contexts:
    """What tokens look like at every position when the others are a random draw of the same pool.

    A Latin square of sentences shows each of K tokens once at each of N positions, with K
    replays. Several squares give the mean row of a (position, token) pair and the covariance
    that other words and their order add to it. Whitened by that covariance, the distance to the
    span tells positions apart, which a covariance of unrelated contexts does not.

    Args:
        rows: (H, N, K, d_b) mean rows.
        fixed: (H, F, d_b) mean rows of the known positions.
        white: (H, d_b, d_b) inverse square root of the covariance.
    """

    rows: Tensor
    fixed: Tensor
    white: Tensor

    @classmethod
    def measure(
        cls, evidence: Evidence, ids: Tensor, free: Tensor, pool: Tensor, squares: int, generator: torch.Generator
    ) -> "Contexts":
        """Replay the sentences of some Latin squares.

        Args:
            evidence: in the plain metric; of it only the model, the place and the blocks matter.
            ids: (n,) sentence with the known tokens in place.
            free: (N,) unknown positions.
            pool: (K,) likely tokens.
            squares: number of squares, at least 2.
            generator: source of the squares.
        """
        drawn, fixed = [], []
        for _ in range(squares):
            rows, known = _square(evidence, ids, free, pool, generator)
            drawn.append(rows)
            fixed.append(known)
        mean = torch.stack(drawn).mean(0)
        size = evidence.bases.shape[1]
        covariance = torch.zeros(len(mean), size, size, dtype=torch.float64)
        for rows in drawn:
            apart = (rows - mean).flatten(1, 2)
            covariance += (apart.transpose(1, 2) @ apart).double() / (mean[0, ..., 0].numel() * (squares - 1))
        return cls(rows=mean, fixed=torch.stack(fixed).mean(0), white=whitening(covariance, RIDGE).to(mean.dtype))

    def table(self, white: Evidence) -> FrozenTable:
        """Return the mean rows as a table of every pool token at every position.

        Args:
            white: the evidence in this metric.
        """
        rows = torch.cat([self.fixed, self.rows.flatten(1, 2)], 1) @ self.white
        positions, options = self.rows.shape[1:3]
        return FrozenTable(evidence=white, positions=positions, options=options, fixed=self.fixed.shape[1], rows=rows)


def _square(
    evidence: Evidence, ids: Tensor, free: Tensor, pool: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return rows (H, N, K, d_b) of one random Latin square, and mean rows (H, F, d_b) of the known positions."""
    size, count = len(pool), len(free)
    shuffled = torch.randperm(size, generator=generator)
    offsets = torch.randperm(max(size, count), generator=generator)[:count]
    order = shuffled[(torch.arange(size)[:, None] + offsets) % size]
    sentences = ids.repeat(size, 1)
    sentences[:, free] = pool[order]
    known = torch.ones(len(ids), dtype=torch.bool)
    known[free] = False
    rows, fixed = [], []
    for part in sentences.split(AT_ONCE):
        inputs = evidence.model.inputs(part, [evidence.place])[evidence.place.name]
        kept = inputs[:, known]
        if evidence.differences:
            inputs, kept = inputs - inputs[:, :1], kept[:, 1:] - kept[:, :1]
        rows.append(evidence.blocks(inputs[:, free]))
        fixed.append(evidence.blocks(kept))
    drawn = torch.cat(rows, 1)
    placed = torch.zeros(len(drawn), count, size, drawn.shape[-1], dtype=drawn.dtype)
    placed[:, torch.arange(count).expand(size, -1), order] = drawn
    return placed, torch.cat(fixed, 1).mean(1)
