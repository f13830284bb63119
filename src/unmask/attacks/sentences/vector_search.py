"""Find the sentence behind one vector: what the first position takes from all the others in a last layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attack import Reconstruction
from unmask.attacks.layout import allowed_tokens, layout
from unmask.attacks.sentences.guided_search import GuidedSearch
from unmask.attacks.sentences.response import Response
from unmask.observation import Observation
from unmask.public import Place
from unmask.rng import generator as named

LENGTHS = (6, 9, 12, 16, 22, 30)
"""Lengths to try where the length is unknown: one vector has no rank to count."""
ROUNDS = 6
"""Rounds that each of them has before the best goes on alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorGoal:
    """The direction of one input, as the right vector of a rank-one gradient shows it.

    A component that only the first position reaches has a gradient `dy h^T`. The input h has
    attended to every word, and far more digits of it are seen than a sentence has bits. The
    squared distance of directions, whitened by the spread over public random sentences, grows
    about evenly with each wrong word, and words of like meaning lie in between.

    Args:
        vector: (d,) of length one.
        response: public statistics of the place.
        solved: measured 1e-14 to 1e-12 for the right sentence, 1e-2 and more for one wrong word.
    """

    vector: Tensor
    response: Response
    solved: float = 1e-8

    @classmethod
    def of(cls, vector: Tensor, response: Response) -> "VectorGoal":
        """Return the goal for a singular vector (d,), whose sign is chosen to agree with the public mean."""
        unit = F.normalize(vector, dim=0).to(response.mean.dtype)
        return cls(vector=unit if float(unit @ response.mean) >= 0 else -unit, response=response)

    def distance(self, inputs: Tensor) -> Tensor:
        """Return the whitened squared distance (C,) of the directions of inputs (C, n, d)."""
        return self._apart(inputs[:, 0]).square().sum(-1) / len(self.vector)

    def promises(self, inputs: Tensor, tokens: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
        """Return two rankings (N, V) by the linear model, which knows no position.

        With the slope and the square of the effect, which holds back words that overshoot; and
        by the linear model alone.
        """
        effects = self.response.effects @ self.response.white / len(tokens)
        apart, mine = self._apart(inputs[0]), effects[tokens]
        square = effects.square().sum(1) + mine.square().sum(1)[:, None] - 2 * mine @ effects.T
        linear = square + 2 * (effects @ apart - (mine @ apart)[:, None])
        return slope + square / len(apart), linear

    def _apart(self, first: Tensor) -> Tensor:
        return (F.normalize(first, dim=-1) - self.vector) @ self.response.white


def read_vector(
    observation: Observation, place: Place, generator: torch.Generator, *, seed: int
) -> Iterator[Reconstruction]:
    """Yield ever better guesses from a gradient of rank one, of which only the right vector is used.

    Args:
        observation: what was seen.
        place: a weight that only the first position reaches.
        generator: source of the search's chance.
        seed: seed of the public random sentences.
    """
    model, allowed = observation.model, allowed_tokens(observation)
    _, _, rows = torch.linalg.svd(observation.tensors[place.name].double(), full_matrices=False)
    known = len(model.vocabulary.prefix) + len(model.vocabulary.suffix)
    lengths = observation.knowledge.lengths or tuple(n for n in LENGTHS if known < n <= model.max_length)

    def search(length: int) -> GuidedSearch:
        blanks = layout(observation, (length,))
        start, free = blanks.ids[0], blanks.free[0].nonzero()[:, 0]
        response = Response.measure(model, place, length, allowed, named(seed, "response", place.name, length))
        goal = VectorGoal.of(rows[0], response)
        start[free] = response.likely(goal.vector, allowed, len(free))
        return GuidedSearch(
            model=model,
            place=place,
            goal=goal,
            start=start,
            free=free,
            allowed=allowed,
            generator=generator,
        )

    searches = [search(length) for length in lengths]
    running = [one.run() for one in searches]
    losses = [float("inf")] * len(lengths)
    # One known length goes on alone from the start; of several, the best after some rounds.
    for k, guesses in enumerate(running):
        for sentence, loss in islice(guesses, ROUNDS if len(lengths) > 1 else None):
            losses[k] = loss
            yield Reconstruction(tokens=(tuple(sentence.tolist()),), loss=loss, note=f"{searches[k].replays} replays")
    best = min(range(len(lengths)), key=losses.__getitem__)
    for sentence, loss in running[best]:
        yield Reconstruction(tokens=(tuple(sentence.tolist()),), loss=loss, note=f"{searches[best].replays} replays")
