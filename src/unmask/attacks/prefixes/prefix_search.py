"""Read a causal model's input token by token: an input at a position depends on its prefix alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.threshold import FALLBACK, between
from unmask.public import Place, PublicModel
from unmask.subspace import Subspace, row_basis, span_distance

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
        null = self._inputs(prefix, order[torch.randint(len(order), (NULL,), generator=self.generator)])
        limit = between(self.inside, span_distance(null, self.space), len(order))
        echoed = self._echo_test(prefix, null)
        start, size = 0, FIRST
        echoes: list[tuple[int, float]] = []
        while start < len(order):
            part = order[start : start + size]
            inputs = self._inputs(prefix, part)
            distances = span_distance(inputs, self.space)
            passed = (distances < limit).nonzero()[:, 0]
            repeats = echoed(inputs[passed])
            pairs = [
                (float(distances[k]), int(part[k]), again)
                for k, again in zip(passed.tolist(), repeats.tolist(), strict=True)
            ]
            fresh = [(token, distance) for distance, token, again in sorted(pairs) if not again]
            echoes += [(token, distance) for distance, token, again in sorted(pairs) if again]
            if fresh:
                return [*fresh, *echoes][:BEAM]
            start, size = start + size, min(size * GROWTH, LARGEST)
        return echoes[:BEAM]

    def _echo_test(self, prefix: tuple[int, ...], null: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a test (C, d) -> (C,): is an input a combination of the prefix's, and so in the span anyway?

        Without absolute positions a repetition of the first token attends to copies of itself and
        has the same input: the span test cannot tell it from the truth, so it is tried last. The
        limit lies between rounding and the distances of random tokens (NULL, d) from the prefix's span.
        """
        if not prefix:
            return lambda inputs: torch.zeros(len(inputs), dtype=torch.bool)
        own = self.model.inputs(torch.tensor([prefix]), [self.place])[self.place.name].double()
        basis = row_basis(own)[0]
        kept = basis[:, basis.square().sum(0) > 0]
        space = Subspace(basis=kept, weights=torch.ones(kept.shape[1], dtype=torch.float64), rank=kept.shape[1])
        apart = span_distance(null.double(), space)
        # A random draw may hold the echo itself; it is no null.
        limit = between(self.inside, apart[apart > apart.median() * FALLBACK], NULL)
        return lambda inputs: span_distance(inputs.double(), space) < limit

    def _order(self, prefix: tuple[int, ...]) -> Tensor:
        # Before the first token any special token may stand; each has its own idea of a beginning.
        contexts = [prefix] if prefix else [(token,) for token in sorted(self.model.vocabulary.special)[:8]]
        logits = self.model.next_token_logits(torch.tensor(contexts)) if contexts else None
        if logits is None:
            return self.allowed
        likely = logits.log_softmax(1).mean(0)
        return self.allowed[likely[self.allowed].argsort(descending=True)]

    def _inputs(self, prefix: tuple[int, ...], tokens: Tensor) -> Tensor:
        """Return the input (C, d_in) of each token as the prefix's continuation."""
        self.tested += len(tokens)
        where = torch.full((len(tokens),), len(prefix))
        return self.model.substituted_inputs(torch.tensor(prefix, dtype=torch.long), where, tokens, self.place)
