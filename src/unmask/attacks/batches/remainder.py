"""What is left of a batch's gradients once the sentences that are proved are taken out of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.layout import noise_deviation
from unmask.observation import Observation
from unmask.public import Place
from unmask.subspace import ROUNDING, Subspace, noise_floor

REPLAYED = 16.0
"""Roundings by which a replayed gradient differs from its part in a batch's; 5 to 12 on a six-layer encoder."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Remainder:
    """Gradients of the sentences that are still unknown.

    A batch's gradient is the mean of its sentences', so a sentence that is known can be replayed and
    subtracted: what is left is the gradient of a smaller batch, of lower rank, hence easier to read.

    Args:
        observation: what was seen.
        tensors: what is left, by place name.
        floors: largest singular value of the rounding and noise of what was seen; they stay.
        labels: classes of the sentences left with the number of tokens of each, where they are known.
    """

    observation: Observation
    tensors: Mapping[str, Tensor]
    floors: Mapping[str, float]
    labels: tuple[tuple[int | None, int], ...]

    @classmethod
    def of(cls, observation: Observation, places: list[Place]) -> "Remainder":
        """Return the whole observation at these places."""
        knowledge, noise = observation.knowledge, noise_deviation(observation)
        tensors = {place.name: observation.tensors[place.name].double() for place in places}
        floors = {name: noise_floor(tensor, dtype=knowledge.dtype, noise=noise) for name, tensor in tensors.items()}
        labels: tuple[tuple[int | None, int], ...] = ()
        if knowledge.labels is not None:
            lengths = knowledge.lengths or (None,) * len(knowledge.labels)
            labels = tuple(zip(lengths, knowledge.labels, strict=True))
        return cls(observation=observation, tensors=tensors, floors=floors, labels=labels)

    def space(self, place: Place) -> Subspace:
        """Return the row space of what is left at a place."""
        left = self.tensors[place.name]
        # A replay's own rounding stays behind in the directions of what was taken out.
        gone = torch.linalg.matrix_norm(self.observation.tensors[place.name].double() - left, 2)
        floor = self.floors[place.name] + REPLAYED * ROUNDING["float32"] * float(gone)
        _, values, rows = torch.linalg.svd(left, full_matrices=False)
        rank = int((values > floor).sum())
        return Subspace(basis=rows[:rank].T, weights=torch.ones(rank, dtype=torch.float64), rank=rank)

    def without(self, tokens: tuple[int, ...]) -> "Remainder":
        """Return what is left without a sentence, with the label that leaves least.

        Where a replay cannot be exact, nothing is taken out.

        Args:
            tokens: a sentence of the batch.
        """
        knowledge, model = self.observation.knowledge, self.observation.model
        if not knowledge.exact or knowledge.clip is not None or knowledge.batch is None or model.classes is None:
            return self
        known = sorted({label for length, label in self.labels if length in (None, len(tokens))})
        labels = known or list(range(model.classes))
        places = [place for place in self.observation.places if place.name in self.tensors]
        ids = torch.tensor([tokens]).repeat(len(labels), 1)
        found = model.gradients(ids, torch.tensor(labels), places)
        trials = [
            {name: self.tensors[name] - found[name][k].double() / knowledge.batch for name in self.tensors}
            for k in range(len(labels))
        ]
        ranks = [
            sum(float(torch.linalg.svdvals(t[n]).clamp_min(self.floors[n]).log().sum()) for n in t) for t in trials
        ]
        best = min(range(len(labels)), key=ranks.__getitem__)
        left = list(self.labels)
        used = next((pair for pair in left if pair[1] == labels[best] and pair[0] in (None, len(tokens))), None)
        if used is not None:
            left.remove(used)
        return Remainder(observation=self.observation, tensors=trials[best], floors=self.floors, labels=tuple(left))

    def _volume(self, tensors: Mapping[str, Tensor]) -> float:
        """Return the sum of the logarithms of all singular values, none below its floor: lowest for the lowest rank."""
        return sum(float(torch.linalg.svdvals(t).clamp_min(self.floors[n]).log().sum()) for n, t in tensors.items())
