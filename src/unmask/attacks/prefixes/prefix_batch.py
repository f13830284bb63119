"""Read a causal model's batch: every sequence is a path of prefixes whose inputs all lie in the span."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.prefixes.last_token import last_tokens
from unmask.attacks.prefixes.prefix_search import PrefixSearch
from unmask.attacks.replay import Replay
from unmask.observation import Observation

Sequences = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class PrefixBatch:
    """Depth-first search for all sequences of a batch.

    An input depends on its own prefix alone, so the tokens of one sequence never extend another's
    prefix inside the span: each sequence ends where no token extends it. A sequence that begins
    another one of the same batch has no input of its own and cannot be told from it.

    Args:
        observation: what was seen.
        search: the test of one prefix's extensions.
        tail: how many tokens at a sequence's end reach no input that was seen, 0 or 1.
        generator: source of all chance.
    """

    observation: Observation
    search: PrefixSearch
    tail: int
    generator: torch.Generator

    def run(self) -> Iterator[Reconstruction]:
        """Yield the sequences found so far after every step, and all of them with the replay's residual at last."""
        model, lengths = self.observation.model, self.observation.knowledge.lengths
        batch = self.observation.knowledge.batch or 1
        longest = (max(lengths) if lengths else model.max_length) - self.tail
        found: list[tuple[int, ...]] = []
        stack: list[tuple[int, ...]] = [model.vocabulary.prefix]
        while stack and len(found) < batch:
            prefix = stack.pop()
            further = self.search.extensions(prefix) if len(prefix) < longest else []
            if not further and len(prefix) > len(model.vocabulary.prefix):
                found.append(prefix)
            stack += [(*prefix, token) for token, _ in reversed(further)]
            yield self._guess((*found, *([stack[-1]] if stack and len(found) < batch else [])), batch)
        yield self._proved(tuple(found))

    def _guess(self, sequences: Sequences, batch: int) -> Reconstruction:
        size, most = sum(map(len, sequences)), batch * self.observation.model.max_length
        return Reconstruction(tokens=sequences, loss=2 - size / most, note=f"{self.search.tested} continuations tested")

    def _proved(self, found: Sequences) -> Reconstruction:
        note = f"{self.search.tested} continuations tested"
        if not found:
            return Reconstruction(tokens=(), loss=2.0, note=note, done=True)
        if self.tail and self.observation.model.classes is None:
            found = last_tokens(self.observation, found, self.search.place, self.generator)
        ids, mask = padded(found, self.observation.model.vocabulary.pad or 0)
        batch = self.observation.knowledge.batch or 1
        if len(found) < batch or self.observation.model.classes is not None:
            return Reconstruction(tokens=found, loss=1 - len(found) / batch, note=note, done=True)
        residual = Replay.of(self.observation, mask).residual(ids, ids)
        return Reconstruction(tokens=found, loss=residual, residual=residual, note=note, done=True)


def padded(sequences: Sequences, filling: int) -> tuple[Tensor, Tensor]:
    """Return sequences as ids (B, n) with the filling at the end, and the mask (B, n) of what counts.

    Args:
        sequences: token ids of each.
        filling: the id to fill with.
    """
    longest = max(map(len, sequences))
    ids = torch.tensor([[*row, *[filling] * (longest - len(row))] for row in sequences])
    mask = torch.arange(longest)[None] < torch.tensor([len(row) for row in sequences])[:, None]
    return ids, mask
