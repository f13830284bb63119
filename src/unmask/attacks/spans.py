"""How well candidate sequences agree with the spans of the visible gradients."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.layout import noise_deviation
from unmask.observation import Observation
from unmask.public import Component, Kind, Place
from unmask.subspace import Subspace, row_space, unexplained


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """Soft row spaces of the visible weight gradients of the layers.

    Args:
        places: visible weights whose gradient has a rank above zero.
        subspaces: theirs, by place name.
    """

    places: tuple[Place, ...]
    subspaces: Mapping[str, Subspace]

    @classmethod
    def of(cls, observation: Observation) -> "Spans":
        """Return the spans of an observation, noise and rounding taken into account."""
        found = {}
        for place in observation.places:
            if place.kind is Kind.WEIGHT and place.layer is not None:
                space = visible_space(observation, place, soft=True)
                if space.rank:
                    found[place.name] = space
        return cls(places=tuple(p for p in observation.places if p.name in found), subspaces=found)

    def objective(self, inputs: Mapping[str, Tensor], mask: Tensor, beta: float) -> Tensor:
        """Return `mean_i (1 - ||P^{1/2} h_i||^2 / ||h_i||^2) + beta * unexplained(h)`, (C,), differentiable.

        The mean over positions runs over the rank many that fit best, since noise hides the others.

        Args:
            inputs: (C * B, n, d_in) of each place.
            mask: (B, n), True where a token counts.
            beta: weight of the share of the basis that the batch does not explain.
        """
        total = torch.zeros(())
        for place in self.places:
            space = self.subspaces[place.name]
            rows = seen_rows(place, inputs[place.name], mask)
            inside = (rows @ space.half(rows.dtype)).square().sum(-1)
            away = 1 - inside / rows.square().sum(-1).clamp_min(1e-12)
            count = min(space.rank, rows.shape[1])
            part = away.topk(count, dim=1, largest=False).values.mean(1)
            total = total + part + (beta * unexplained(rows, space) if beta else 0.0)
        return total / max(1, len(self.places))


def visible_space(observation: Observation, place: Place, *, soft: bool = False) -> Subspace:
    """Return the row space of a visible weight gradient, its noise and number format taken into account.

    Args:
        observation: what was seen.
        place: a visible weight.
        soft: whether to trust directions by their strength.
    """
    matrix, noise = observation.tensors[place.name], noise_deviation(observation)
    return row_space(matrix, dtype=observation.knowledge.dtype, noise=noise, soft=soft)


def seen_rows(place: Place, inputs: Tensor, mask: Tensor) -> Tensor:
    """Return the vectors (C, m, d) that span a place's gradient, from its inputs (C * B, n, d).

    A key gradient's coefficients sum to zero over the positions of a sequence, because adding a
    constant to all scores changes no soft-max: it shows differences to the first token only.
    """
    batch, width = mask.shape
    rows = inputs.unflatten(0, (-1, batch))
    if place.component is Component.KEY:
        rows = rows[:, :, 1:] - rows[:, :, :1]
        mask = mask[:, 1:]
        width -= 1
    return rows.flatten(1, 2)[:, mask.reshape(batch * width)]
