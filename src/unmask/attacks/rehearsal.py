"""Rehearse on public random sentences what a place's gradient can carry at all."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.probes import random_context
from unmask.attacks.threshold import between
from unmask.public import Place, PublicModel
from unmask.subspace import row_space, span_distance, unexplained

LENGTH = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """Which inputs of a random public sentence the gradient of a place spans.

    Args:
        length: tokens of the sentence.
        rank: rank of its gradient.
        visible: positions whose own input lies in the row space.
        differences: no single input does, and differences to the first position's explain it whole.
        inside: distances of the inputs that lie in the row space.
    """

    length: int
    rank: int
    visible: tuple[int, ...]
    differences: bool
    inside: Tensor

    @property
    def missing(self) -> int:
        """How many tokens the rank falls short of the length."""
        return self.length - self.rank

    @property
    def complete(self) -> bool:
        """Whether the span holds one direction per token, but for two at the most."""
        return self.missing <= 2

    @property
    def single(self) -> bool:
        """Whether the first position alone reaches the gradient."""
        return self.rank == 1 and self.visible == (0,)


def rehearse(model: PublicModel, place: Place, allowed: Tensor, generator: torch.Generator) -> Rehearsal:
    """Compute a random sentence's gradient at the place and test each position's input against it.

    Args:
        model: the public model.
        place: a weight of a linear map.
        allowed: token ids that can occur.
        generator: source of the sentence.
    """
    length = min(LENGTH, model.max_length)
    ids, other = (random_context(model, allowed, length, generator) for _ in range(2))
    target = ids[None] if model.classes is None else torch.zeros(1, dtype=torch.long)
    gradient = model.gradients(ids[None], target, [place])[place.name][0]
    inputs, strange = model.inputs(torch.stack([ids, other]), [place])[place.name]
    space = row_space(gradient)
    if space.rank == 0:
        return Rehearsal(length=length, rank=0, visible=(), differences=False, inside=torch.zeros(0))
    own = span_distance(inputs, space)
    # Midway, by orders of magnitude, between rounding and the inputs of a sentence that is not in the gradient.
    # What both sentences begin and end with is in it, so the ordinary tokens alone are the null.
    prefix, suffix = len(model.vocabulary.prefix), len(model.vocabulary.suffix)
    limit = between(torch.zeros(0), span_distance(strange[prefix : length - suffix], space), length)
    visible = tuple((own < limit).nonzero()[:, 0].tolist())
    apart = inputs[1:] - inputs[:1]
    differences = not visible and float(unexplained(apart.double()[None], space, ridge=1e-12)) < limit
    return Rehearsal(
        length=length,
        rank=space.rank,
        visible=visible,
        differences=differences,
        inside=span_distance(apart, space) if differences else own[list(visible)],
    )
