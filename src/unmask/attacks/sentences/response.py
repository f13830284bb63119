"""How one vector that reads a whole sentence responds to its words, on average over public random sentences."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.probes import random_context, whitening
from unmask.public import Place, PublicModel

SENTENCES = 1000
LONGEST = 16
RIDGE = 0.1
"""Share of the mean eigenvalue added to a covariance before it is inverted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """Mean, spread and linear model of the direction of a place's input at the first position.

    `h = mean + (mean over the words of their normalised embeddings) @ map + rest`.

    Args:
        mean: (d,) of the directions.
        white: (d, d) inverse square root of their covariance.
        rest: (d, d) inverse square root of the covariance of what the linear model leaves.
        effects: (V, d) `embedding @ map` of every token, centred over the allowed ones.
    """

    mean: Tensor
    white: Tensor
    rest: Tensor
    effects: Tensor

    @classmethod
    def measure(
        cls, model: PublicModel, place: Place, length: int, allowed: Tensor, generator: torch.Generator
    ) -> "Response":
        """Replay random sentences and fit the model by ridge regression.

        Args:
            model: the public model.
            place: whose input at the first position is read.
            length: tokens of a sentence; longer ones are replayed shorter, which serves as well and costs less.
            allowed: token ids that can occur.
            generator: source of the sentences.
        """
        length = min(length, LONGEST)
        ids = torch.stack([random_context(model, allowed, length, generator) for _ in range(SENTENCES)])
        seen = directions(model, place, ids).double()
        mean = seen.mean(0)
        words = F.layer_norm(model.embedding(), model.embedding().shape[1:]).double()
        bags = words[ids[:, len(model.vocabulary.prefix) : length - len(model.vocabulary.suffix)]].mean(1)
        bags, centred = bags - bags.mean(0), seen - mean
        width = bags.shape[1]
        ridge = 0.05 * bags.square().sum() / width
        weight = torch.linalg.solve(bags.T @ bags + ridge * torch.eye(width, dtype=bags.dtype), bags.T @ centred)
        effects = words @ weight
        left = centred - bags @ weight
        spread = torch.stack([part.T @ part / len(ids) for part in (centred, left)])
        dtype = model.embedding().dtype
        white, rest = whitening(spread, RIDGE).to(dtype)
        return cls(mean=mean.to(dtype), white=white, rest=rest, effects=(effects - effects[allowed].mean(0)).to(dtype))

    def likely(self, vector: Tensor, allowed: Tensor, count: int) -> Tensor:
        """Return `count` words, found one by one, whose mean effect explains a direction (d,) best."""
        effects = self.effects[allowed] @ self.rest / count
        lengths, left = effects.square().sum(1), (vector - self.mean) @ self.rest
        found = []
        for _ in range(count):
            best = int((2 * effects @ left - lengths).argmax())
            found.append(allowed[best])
            left = left - effects[best]
        return torch.stack(found)


def directions(model: PublicModel, place: Place, ids: Tensor, at_once: int = 64) -> Tensor:
    """Return the unit vectors (C, d) of a place's input at the first position of sentences (C, n)."""
    parts = [model.inputs(part, [place])[place.name][:, 0] for part in ids.split(at_once)]
    return F.normalize(torch.cat(parts), dim=-1)
