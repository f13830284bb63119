"""Read which words of a batch stand where from a first layer's span."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.batches.remainder import Remainder
from unmask.attacks.first_layer import position_distances
from unmask.attacks.layout import allowed_tokens
from unmask.attacks.rehearsal import Rehearsal
from unmask.attacks.threshold import ROUNDING
from unmask.public import Place

FARTHEST = 128
"""Positions looked at where no length is known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """Pairs of token and position that lie in the first span, and the lengths of sentences that end there."""

    ids: Tensor
    positions: Tensor
    ends: tuple[int, ...]

    def bag(self, special: frozenset[int]) -> tuple[int, ...]:
        """Return the words, once each."""
        return tuple(int(t) for t in self.ids.unique() if int(t) not in special)

    def options(self) -> tuple[Tensor, ...]:
        """Return the tokens at each position."""
        return tuple(self.ids[self.positions == i] for i in range(int(self.positions.max()) + 1))


def read_words(remainder: Remainder, place: Place, rehearsed: Rehearsal, lengths: tuple[int, ...]) -> Words:
    """Return what a first layer's span holds.

    No more words can occur than the span has dimensions, so the nearest of the others to the span is
    surely false; the limit lies half-way between it and rounding, on a scale of logarithms.

    Args:
        remainder: what is left of the batch.
        place: a visible weight of the first layer.
        rehearsed: what its gradient carries.
        lengths: those of the sentences left, if known.
    """
    observation, space = remainder.observation, remainder.space(place)
    model = observation.model
    known = lengths or observation.knowledge.lengths
    positions = min(model.max_length, max(known) if known else FARTHEST, space.rank + 1)
    distances = position_distances(observation, place, space, positions, differences=rehearsed.differences)
    allowed, vocabulary = allowed_tokens(observation), model.vocabulary
    nearest = distances[allowed].amin(1).sort().values
    false = float(nearest[min(space.rank + 2, len(nearest) - 1)])
    true = max(ROUNDING, float(rehearsed.inside.max()) if rehearsed.inside.numel() else 0.0)
    limit = (true * false) ** 0.5
    inside = distances < limit
    special = torch.ones(len(inside), dtype=torch.bool)
    special[allowed] = False
    inside[special] = False
    inside[:, : len(vocabulary.prefix)] = False
    for i, token in enumerate(vocabulary.prefix):
        inside[token, i] = True
    suffix = vocabulary.suffix
    ends = tuple(i + len(suffix) for i in range(positions) if suffix and distances[suffix[0], i] < limit)
    for length in sorted(set(known or ends)):
        for k, token in enumerate(suffix):
            if length - len(suffix) + k < positions:
                inside[token, length - len(suffix) + k] = True
    where, ids = inside.T.nonzero().T
    return Words(ids=ids, positions=where, ends=ends)
