"""Replay guesses through the public model and compare their gradients with the one seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.matching.distances import Distance, distance
from unmask.observation import Observation
from unmask.public import Kind, Place

MOST_ENTRIES = 1 << 24
"""Gradient entries and activations held at once; larger sets of candidates go in several passes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """Gradients of candidate batches at the places that were seen.

    Args:
        observation: what was seen.
        mask: (B, n), True where a token counts.
        places: visible places except embeddings, whose gradient is read analytically.
        seen: their tensors.
    """

    observation: Observation
    mask: Tensor
    places: tuple[Place, ...]
    seen: Mapping[str, Tensor]

    @classmethod
    def of(cls, observation: Observation, mask: Tensor) -> "Replay":
        """Return the replay of an observation's tensors for batches with this mask."""
        places = tuple(place for place in observation.places if place.kind is not Kind.EMBEDDING)
        seen = {place.name: observation.tensors[place.name] for place in places}
        return cls(observation=observation, mask=mask, places=places, seen=seen)

    def gradients(self, batches: Tensor, targets: Tensor, *, differentiable: bool = False) -> dict[str, Tensor]:
        """Return the mean gradient (C, *shape) of each candidate batch.

        Args:
            batches: ids (C, B, n) or embeddings (C, B, n, d).
            targets: (C, B) classes, (C, B, n) ids or (C, B, n, V) probabilities.
            differentiable: keep the graph.
        """
        candidates, batch = batches.shape[:2]
        whole = None if bool(self.mask.all()) else self.mask.repeat(candidates, 1)
        own = self.observation.model.gradients(
            batches.flatten(0, 1), targets.flatten(0, 1), self.places, mask=whole, differentiable=differentiable
        )
        share = self._shares()
        mean = {
            name: torch.einsum("cb...,b->c...", value.unflatten(0, (candidates, batch)), share.to(value.dtype))
            for name, value in own.items()
        }
        return self._clipped(mean)

    def _shares(self) -> Tensor:
        """Return each sequence's share (B,) of the batch loss: equal, or by predicted tokens."""
        if self.observation.model.classes is not None:
            return torch.full((len(self.mask),), 1 / len(self.mask), dtype=torch.float64)
        predicted = (self.mask.sum(1) - 1).double()
        return predicted / predicted.sum()

    def _clipped(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        limit = self.observation.knowledge.clip
        if limit is None:
            return gradients
        squares = [value.flatten(1).square().sum(1) for value in gradients.values()]
        scale = (limit / torch.stack(squares).sum(0).sqrt().clamp_min(1e-30)).clamp_max(1)
        return {name: value * scale.reshape(-1, *[1] * (value.dim() - 1)) for name, value in gradients.items()}

    def distances(
        self, batches: Tensor, targets: Tensor, kind: Distance, *, l1: float = 0.0, differentiable: bool = False
    ) -> Tensor:
        """Return each candidate batch's gradient distance (C,); see `gradients` for the arguments."""
        if differentiable:
            found = self.gradients(batches, targets, differentiable=True)
            return distance(kind, self.seen, found, l1=l1)
        parts = []
        step = self.chunk(batches.shape[1] * batches.shape[2])
        for start in range(0, len(batches), step):
            found = self.gradients(batches[start : start + step], targets[start : start + step])
            parts.append(distance(kind, self.seen, found, l1=l1))
        return torch.cat(parts)

    def chunk(self, tokens: int) -> int:
        """Return how many candidates of so many tokens fit in one pass."""
        model = self.observation.model
        logits = 0 if model.classes is not None else 3 * model.vocabulary.size
        entries = sum(place.size for place in self.places) + tokens * (4096 + logits)
        return max(1, MOST_ENTRIES // entries)

    def residual(self, ids: Tensor, targets: Tensor) -> float:
        """Return `||G(guess) - G|| / ||G||` over all places for one batch of ids (B, n)."""
        found = self.gradients(ids[None], targets[None])
        gap = sum(float((found[name][0].double() - seen.double()).square().sum()) for name, seen in self.seen.items())
        whole = sum(float(seen.double().square().sum()) for seen in self.seen.values())
        return (gap / whole) ** 0.5 if whole > 0 else float("inf")
