"""Read a causal model's input token by token: an input at a position depends on its prefix alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.threshold import between
from unmask.public import Place, PublicModel
from unmask.subspace import Subspace, span_distance

FIRST, GROWTH, LARGEST = 64, 4, 2048
"""Candidates in the first batch of a position, growth of the following ones, and their limit."""
NULL = 64
BEAM = 32


@dataclass(kw_only=True, eq=False)
class PrefixSearch:
    """Depth-first search over prefixes whose every input lies in the span.

    Candidates come in the order of the model's own next-token probability where it is a language
    model, else by token id, and all of the vocabulary is tried before a prefix is given up.

    Args:
        model: the public model.
        place: whose input is tested.
        space: row space of its gradient.
        allowed: token ids that may occur.
        inside: distances of true inputs in a rehearsal, for the threshold.
        generator: source of the null distribution's tokens.
    """

    model: PublicModel
    place: Place
    space: Subspace
    allowed: Tensor
    inside: Tensor
    generator: torch.Generator
    tested: int = field(default=0, init=False)

    def run(self, length: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """Yield (prefix, largest distance) as it grows to `length` tokens; the last is the longest."""
        prefix = self.model.vocabulary.prefix
        stack: list[tuple[tuple[int, ...], float]] = [(prefix, 0.0)]
        while stack:
            prefix, worst = stack.pop()
            yield prefix, worst
            if len(prefix) >= length:
                return
            for token, distance in reversed(self.extensions(prefix)):
                stack.append(((*prefix, token), max(worst, distance)))

    def extensions(self, prefix: tuple[int, ...]) -> list[tuple[int, float]]:
        """Return the tokens that may follow a prefix, surest first; empty if none does."""
        order = self._order(prefix)
        null = order[torch.randint(len(order), (NULL,), generator=self.generator)]
        limit = between(self.inside, self._distances(prefix, null), len(order))
        start, size = 0, FIRST
        while start < len(order):
            part = order[start : start + size]
            distances = self._distances(prefix, part)
            passed = (distances < limit).nonzero()[:, 0]
            if len(passed):
                pairs = [(int(part[k]), float(distances[k])) for k in passed.tolist()]
                return sorted(pairs, key=lambda pair: pair[1])[:BEAM]
            start, size = start + size, min(size * GROWTH, LARGEST)
        return []

    def _order(self, prefix: tuple[int, ...]) -> Tensor:
        # Before the first token any special token may stand; each has its own idea of a beginning.
        contexts = [prefix] if prefix else [(token,) for token in sorted(self.model.vocabulary.special)[:8]]
        logits = self.model.next_token_logits(torch.tensor(contexts)) if contexts else None
        if logits is None:
            return self.allowed
        likely = logits.log_softmax(1).mean(0)
        return self.allowed[likely[self.allowed].argsort(descending=True)]

    def _distances(self, prefix: tuple[int, ...], tokens: Tensor) -> Tensor:
        self.tested += len(tokens)
        where = torch.full((len(tokens),), len(prefix))
        ids = torch.tensor(prefix, dtype=torch.long)
        return span_distance(self.model.substituted_inputs(ids, where, tokens, self.place), self.space)
