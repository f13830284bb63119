"""What is known of the batch before any attack: its lengths, its special tokens, its labels."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.labels import from_head_bias, from_head_weight
from unmask.observation import Observation
from unmask.public import Component, Kind
from unmask.subspace import estimate_rank

MOST_LABELLINGS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Sequences of a batch with blanks.

    Args:
        ids: (B, n) with the known special tokens in place; blanks and padding hold the padding id.
        free: (B, n), True where the token is unknown.
        mask: (B, n), True where a token counts.
        lengths: number of tokens of each sequence, special tokens included.
        inferred: whether the lengths come from a gradient's rank instead of knowledge.
    """

    ids: Tensor
    free: Tensor
    mask: Tensor
    lengths: tuple[int, ...]
    inferred: bool

    def sequences(self, ids: Tensor) -> tuple[tuple[int, ...], ...]:
        """Cut a filled batch (B, n) to its sequences."""
        return tuple(tuple(row[:length]) for row, length in zip(ids.tolist(), self.lengths, strict=True))


def noise_deviation(observation: Observation) -> float:
    """Return the deviation of the noise on each entry: a known one, and what a known noise-to-norm ratio adds.

    The norm seen holds the latter too: `||seen||^2 = norm^2 (1 + ratio^2)` in expectation.
    """
    ratio, own = observation.knowledge.noise, observation.knowledge.deviation
    entries = sum(tensor.numel() for tensor in observation.tensors.values())
    energy = sum(float(tensor.double().square().sum()) for tensor in observation.tensors.values())
    return math.hypot(own, ratio * (energy / (1 + ratio**2) / max(1, entries)) ** 0.5)


def total_rank(observation: Observation) -> int:
    """Return the largest rank of a visible weight gradient of a layer: the number of tokens it shows.

    A key gradient loses one rank to the soft-max, a last layer's may show [CLS] alone, so the
    largest counts; noise or a narrow map make it a lower bound.
    """
    noise = noise_deviation(observation)
    ranks = [0]
    for place in observation.places:
        if place.kind is Kind.WEIGHT and place.layer is not None:
            extra = 1 if place.component is Component.KEY else 0
            matrix = observation.tensors[place.name]
            ranks.append(extra + estimate_rank(matrix, dtype=observation.knowledge.dtype, noise=noise))
    return max(ranks)


def layout(observation: Observation, lengths: tuple[int, ...] | None = None) -> Layout:
    """Return the batch with blanks; unknown lengths are inferred from the rank of a weight gradient.

    For a batch of unknown lengths the tokens are shared out evenly, as a guess.

    Args:
        observation: what was seen.
        lengths: of the sequences, where the caller has better reasons than the rank.
    """
    knowledge, vocabulary = observation.knowledge, observation.model.vocabulary
    lengths = lengths or knowledge.lengths
    batch = knowledge.batch or len(lengths or (0,))
    known = len(vocabulary.prefix) + len(vocabulary.suffix)
    if lengths is None:
        share = -(-total_rank(observation) // batch)
        lengths = (min(max(share, known + 1), observation.model.max_length),) * batch
    width = max(lengths)
    ids = torch.full((batch, width), vocabulary.pad or 0)
    free = torch.zeros(batch, width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        prefix, suffix = len(vocabulary.prefix), len(vocabulary.suffix)
        ids[row, :prefix] = torch.tensor(vocabulary.prefix, dtype=torch.long)
        ids[row, length - suffix : length] = torch.tensor(vocabulary.suffix, dtype=torch.long)
        free[row, prefix : length - suffix] = True
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return Layout(ids=ids, free=free, mask=mask, lengths=lengths, inferred=knowledge.lengths is None)


def labellings(observation: Observation, batch: int) -> Tensor | None:
    """Return the labellings to try, (H, B) class indices, or None for next-token prediction.

    Unknown labels: for one sequence the class that the head's gradient shows, where the head is seen
    without noise. Else every multiset of classes, at most 16 of them, since the order of a batch cannot
    be seen in its mean gradient.
    """
    classes = observation.model.classes
    if classes is None:
        return None
    if observation.knowledge.labels is not None:
        return torch.tensor([observation.knowledge.labels])
    if batch == 1 and observation.knowledge.exact:
        shown = from_head_bias(observation) or from_head_weight(observation)
        if shown is not None:
            return torch.tensor([[shown.label]])
    every = itertools.combinations_with_replacement(range(classes), batch)
    return torch.tensor(list(itertools.islice(every, MOST_LABELLINGS)))


def allowed_tokens(observation: Observation) -> Tensor:
    """Return the ids that can occur inside a sentence, ascending."""
    vocabulary = observation.model.vocabulary
    return torch.tensor([i for i in range(vocabulary.size) if i not in vocabulary.special])
