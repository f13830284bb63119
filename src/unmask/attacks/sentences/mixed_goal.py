"""The span of an attention output whose heads are full: no row stands for a word, only all together tell."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.evidence import Evidence


@dataclass(frozen=True, kw_only=True, eq=False)
class MixedGoal:
    """How far a sentence's rows lie outside a span, and how much of the span they leave unexplained.

    Once a sentence is as long as a head is wide, the span of each head is the whole head and
    says nothing; the span over all heads mixes every word into every row. A wrong word then
    costs the unexplained share so much that a few of them hide the others, while the part of the
    rows outside the span grows evenly (measured in MiniLM's fourth layer, 36 tokens: 1, 4 and 16
    wrong words give 0.14, 0.39 and 0.75 of the one, 0.06, 0.23 and 0.67 of the other). Their sum
    serves far and near.

    Args:
        evidence: in any metric.
        solved: see `sentence_search.SOLVED`.
        first_alone: see `Goal`.
    """

    evidence: Evidence
    solved: float = 2e-6
    first_alone: bool = False

    def distance(self, inputs: Tensor) -> Tensor:
        """Return the mean of both shares (C,) for inputs (C, n, d)."""
        rows = self.evidence.blocks(inputs).double()
        inside = torch.einsum("hcnb,hbr->hcnr", rows, self.evidence.bases).square().sum((0, 2, 3))
        outside = 1 - inside / rows.square().sum((0, 2, 3))
        return (outside + self.evidence.of_inputs(inputs)) / 2

    def promises(self, inputs: Tensor, tokens: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
        """Return no further ranking."""
        return ()
