"""Solve for the words of one sentence of a batch: one word's next input lies in the second span."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.batches.flows import Flows
from unmask.public import Component, InputTable, Kind, Place, PublicModel
from unmask.subspace import Subspace

STEPS = 14
"""Steps of a solve."""
LEAST, MOST = 1e-6, 1.5
RIDGE, SMALLEST = 1e-2, 1e-5
PRIOR = 0.01
"""A pair whose share of its token's flow is smaller starts with this weight."""
SUM = 0.3
"""Weight of the rule that each position holds one word, in units of a whole input."""
SURE, JOINED, MATES = 0.95, 0.8, 2
"""A word that surely stands at one position and has this weight lends its own input; so many do."""
STEP = 1e-3
"""Step of the difference quotient through the layer, as a share of the attention output's mean length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Memberships:
    """Which pairs of token and position share a sentence with a word, as weights between 0 and 1.

    With weights z over all pairs that the first span allows, a word n of known position attends with
    `a_nj = z_j exp(s_nj) / sum_l z_l exp(s_nl)` in every head, where the scores s are public, so its next
    input `x_n(z)` is known. The true z is 0 or 1, and `P x_n(z) = 0` for the projector P across the second
    span: as many equations as the span leaves, against one unknown for each pair that all heads share.
    Gauss-Newton steps, each solved for the sparsest weights (focal underdetermined system solver,
    Gorodnitsky and Rao 1997), find it; words found to stand in the sentence add their own equations.

    Args:
        model: the public model.
        block: the first layer's attention output.
        later: place of the second span, which no other attention comes before.
        across: (d, d - r) orthonormal basis of what the second span leaves.
        queries: (H, N, d_head) of every pair.
        keys: (H, N, d_head).
        values: (H, N, d_head).
        ids: (N,) token of each pair.
        positions: (N,) its position.
        shares: (N,) share of its token's flow.
        suffix: tokens that end a sentence.
    """

    model: PublicModel
    block: Place
    later: Place
    across: Tensor
    queries: Tensor
    keys: Tensor
    values: Tensor
    ids: Tensor
    positions: Tensor
    shares: Tensor
    suffix: tuple[int, ...]

    def anchors(self) -> Tensor:
        """Return the pairs whose token surely stands there, and nowhere else in the batch."""
        special = torch.tensor(sorted(self.model.vocabulary.special), dtype=torch.long)
        return ((self.shares > SURE) & ~torch.isin(self.ids, special)).nonzero()[:, 0]

    def allowed(self, length: int) -> Tensor:
        """Return the indices of the pairs that a sentence of this length can hold."""
        ending = torch.tensor(self.suffix, dtype=torch.long)
        inside = (self.positions < length - len(self.suffix)) & ~torch.isin(self.ids, ending)
        for k, token in enumerate(self.suffix):
            inside |= (self.positions == length - len(self.suffix) + k) & (self.ids == token)
        return inside.nonzero()[:, 0]

    def read(self, weights: Tensor, chosen: Tensor, length: int) -> Tensor | None:
        """Return the heaviest pair (length,) at each position, or None where none is allowed.

        Args:
            weights: (M,) of the chosen pairs.
            chosen: (M,) their indices.
            length: of the sentence.
        """
        found, positions = [], self.positions[chosen]
        for i in range(length):
            here = (positions == i).nonzero()[:, 0]
            if not len(here):
                return None
            found.append(chosen[here[weights[here].argmax()]])
        return torch.stack(found)

    def steps(self, anchor: int, chosen: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Yield the weights (M,) of the chosen pairs after every step, and the mean residual before it.

        Args:
            anchor: a pair of the sentence whose token stands nowhere else.
            chosen: (M,) pairs that a sentence of its length can hold, one at each position.
        """
        positions = self.positions[chosen]
        places = F.one_hot(positions).double() * SUM
        crowd = torch.zeros(int(positions.max()) + 1).index_add(0, positions, torch.ones(len(positions)))
        fixed = (chosen == anchor) | (crowd[positions] == 1)
        weights = self.shares[chosen].clamp(PRIOR, 1)
        weights = weights / torch.zeros(len(crowd), dtype=weights.dtype).index_add(0, positions, weights)[positions]
        weights[fixed] = 1
        words = torch.tensor([anchor])
        for step in range(STEPS):
            residual, slope = self._linear(words, chosen, weights)
            rows = torch.cat([slope, places], 1)
            target = torch.cat([weights @ slope - residual, torch.full(places.shape[1:], SUM, dtype=weights.dtype)])
            moment = (rows.T * weights) @ rows
            ridge = max(RIDGE * 0.5**step, SMALLEST) * moment.diagonal().mean()
            moment.diagonal().add_(ridge)
            weights = (weights * (rows @ torch.linalg.solve(moment, target))).clamp(LEAST, MOST)
            weights[fixed] = 1
            yield weights, float(residual.norm()) / len(words) ** 0.5
            words = self._words(anchor, chosen, weights) if step >= 2 else words

    def _words(self, anchor: int, chosen: Tensor, weights: Tensor) -> Tensor:
        """Return the anchor and the surest words of the sentence that stand nowhere else."""
        able = (weights > JOINED) & torch.isin(chosen, self.anchors()) & (chosen != anchor)
        found = able.nonzero()[:, 0]
        found = found[weights[found].argsort(descending=True)[:MATES]]
        return torch.cat([torch.tensor([anchor]), chosen[found]])

    def _linear(self, words: Tensor, chosen: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residuals (A * (d - r),) of words and their slope (M, A * (d - r)) by the weights."""
        keys, values = self.keys[:, chosen], self.values[:, chosen]
        scores = self.queries[:, words] @ keys.transpose(1, 2) / keys.shape[2] ** 0.5
        scores = (scores - scores.amax(2, keepdim=True)).exp()
        attention = scores / (scores * weights).sum(2, keepdim=True)  # (H, A, M), before the weight
        seen = (attention * weights) @ values
        attended = seen.transpose(0, 1).flatten(1)  # (A, d)
        width, step = attended.shape[1], STEP * float(attended.norm(dim=1).mean())
        moves = torch.cat([torch.zeros(1, width), torch.eye(width)]).double() * step
        trials = attended[:, None] + moves
        found = self.model.continued_inputs(
            self.ids[words].repeat_interleave(width + 1),
            self.positions[words].repeat_interleave(width + 1),
            trials.flatten(0, 1),
            self.block,
            self.later,
        )
        outside = (found.double() @ self.across).unflatten(0, (len(words), width + 1))
        size = found.double().unflatten(0, (len(words), width + 1))[:, 0].norm(dim=1)
        outside = outside / size[:, None, None]
        through = (outside[:, 1:] - outside[:, :1]) / step  # (A, d, d - r)
        moved = attention.permute(1, 2, 0)[..., None] * (values.transpose(0, 1) - seen.transpose(0, 1)[:, None])
        slope = moved.flatten(2) @ through  # (A, M, d - r)
        return outside[:, 0].flatten(), slope.transpose(0, 1).flatten(1)


def memberships(
    model: PublicModel, first: Place, later: Place, table: InputTable, space: Subspace, found: Flows
) -> Memberships | None:
    """Return the equations of a batch, or None where another attention lies between the two spans.

    Args:
        model: the public model.
        first: a first-layer query.
        later: place of the second span.
        table: closed form of the first layer's input.
        space: the second span.
        found: flows of the batch's words.
    """
    parts = {p.component: p for p in model.places if p.layer == first.layer and p.kind is Kind.WEIGHT}
    attention = (Component.QUERY, Component.KEY, Component.VALUE)
    same = (first.layer, Component.FFN_IN), (first.layer, Component.FFN_OUT)
    next_one = later.layer is not None and first.layer is not None and later.layer == first.layer + 1
    reached = (later.layer, later.component) in same or (next_one and later.component in attention)
    block = parts.get(Component.ATTENTION_OUTPUT)
    if block is None or not reached or model.causal or any(c not in parts for c in attention):
        return None
    if any(parts[c].shape != first.shape for c in attention) or not model.places_words or space.rank >= space.width:
        return None
    rows = table.rows(found.ids, found.positions).double()
    maps = []
    for component in attention:
        weight, bias = model.affine(parts[component])
        outputs = rows @ weight.double().T + bias.double()
        maps.append(outputs.view(len(rows), block.heads, -1).transpose(0, 1).contiguous())
    return Memberships(
        model=model,
        block=block,
        later=later,
        across=torch.linalg.qr(space.basis, mode="complete")[0][:, space.rank :],
        queries=maps[0],
        keys=maps[1],
        values=maps[2],
        ids=found.ids,
        positions=found.positions,
        shares=found.shares,
        suffix=model.vocabulary.suffix,
    )
