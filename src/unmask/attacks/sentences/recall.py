"""Rank the vocabulary once more in the context of a guess: the words that it lacks come out on top."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.evidence import Evidence
from unmask.attacks.probes import Probes, explained
from unmask.attacks.rough import rough


@dataclass(frozen=True, kw_only=True, eq=False)
class Recall:
    """Rows of a few thousand tokens, each put once into a guess at a free position.

    The guess's own words explain most of the context, so what a missing word would explain stands
    out: on MiniLM's fourth layer, words that public probes rank in the thousands come among the
    first ten.

    Args:
        tokens: (M,).
        rows: (H, M, d_b) in the plain metric.
    """

    tokens: Tensor
    rows: Tensor

    @classmethod
    def measure(
        cls, plain: Evidence, ids: Tensor, free: Tensor, tokens: Tensor, generator: torch.Generator
    ) -> "Recall":
        """Probe tokens in a guess.

        Args:
            plain: the evidence in the plain metric.
            ids: (n,) the guess.
            free: positions that may change.
            tokens: what to probe.
            generator: source of the positions.
        """
        where = free[torch.randint(len(free), tokens.shape, generator=generator)]
        with rough():
            found = plain.model.substituted_inputs(ids, where, tokens, plain.place)
        found = found.to(plain.model.embedding().dtype)
        if plain.differences:
            found = found - plain.model.inputs(ids[None], [plain.place])[plain.place.name][0, 0]
        return cls(tokens=tokens, rows=plain.blocks(found))

    def missing(self, white: Evidence, taken: Tensor, count: int) -> Tensor:
        """Return the tokens that best explain what a sentence leaves unexplained, best first.

        Args:
            white: the evidence in any metric.
            taken: (H, n, d_b) the sentence's rows in that metric.
            count: most tokens to return.
        """
        rows = self.rows if white.white is None else self.rows @ white.white
        return self.tokens[explained(white, taken, rows).argsort(descending=True)[:count]]


def likely(probes: Probes, white: Evidence, taken: Tensor, ranked: Tensor, count: int, turn: int) -> Tensor:
    """Return tokens worth a probe in context, by two public rankings in turns.

    Args:
        probes: public statistics of the place.
        white: the evidence in any metric.
        taken: (H, n, d_b) a guess's rows in that metric.
        ranked: allowed tokens by their distance to the whole span.
        count: number of tokens.
        turn: which slice of the rankings to take, from 0.
    """
    rows = probes.rows[:, ranked]
    rows = rows if white.white is None else rows @ white.white
    order = ranked[explained(white, taken, rows).argsort(descending=True)]
    first = (turn * count // 2) % len(ranked)
    return torch.cat([part.roll(-first)[: count // 2] for part in (ranked, order)]).unique()
