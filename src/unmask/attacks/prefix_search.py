"""Read a causal model's input token by token: an input at a position depends on its prefix alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.threshold import between
from unmask.public import Place, PublicModel
from unmask.subspace import Subspace, row_basis, span_distance

FIRST, GROWTH, LARGEST = 64, 4, 2048
"""Candidates in the first batch of a position, growth of the following ones, and their limit."""
NULL = 64
ECHO = 1e-6
"""Squared relative distance from the prefix's inputs below which an input adds nothing to the span."""
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
        echoes: list[tuple[int, float]] = []
        while start < len(order):
            part = order[start : start + size]
            distances = self._distances(prefix, part)
            passed = (distances < limit).nonzero()[:, 0]
            pairs = sorted(((int(part[k]), float(distances[k])) for k in passed.tolist()), key=lambda pair: pair[1])
            fresh = [pair for pair in pairs if not self._echoes(prefix, pair[0])]
            echoes += [pair for pair in pairs if pair not in fresh]
            if fresh:
                return [*fresh, *echoes][:BEAM]
            start, size = start + size, min(size * GROWTH, LARGEST)
        return echoes[:BEAM]

    def _echoes(self, prefix: tuple[int, ...], token: int) -> bool:
        """Whether a token's input is a combination of the prefix's, so that it would be in the span anyway.

        Without absolute positions a repetition of the first token attends to copies of itself and
        has the same input: the span test cannot tell it from the truth, so it is tried last.
        """
        if not prefix:
            return False
        ids = torch.tensor([[*prefix, token]])
        inputs = self.model.inputs(ids, [self.place])[self.place.name][0].double()
        basis = row_basis(inputs[None, :-1])[0]
        kept = basis[:, basis.square().sum(0) > 0]
        own = Subspace(basis=kept, weights=torch.ones(kept.shape[1], dtype=torch.float64), rank=kept.shape[1])
        return float(span_distance(inputs[-1], own)) < ECHO

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
