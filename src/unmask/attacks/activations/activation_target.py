"""Activations that were seen, ready to be compared with those of guesses."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from unmask.observation import Activations
from unmask.public import PublicModel, Vocabulary
from unmask.site import Signal, Site
from unmask.subspace import ROUNDING

TOKENS = 1024
"""Tokens replayed in one forward pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What was seen of one text, and what is known of its tokens.

    Args:
        model: the public model.
        sites: where it was seen.
        tensors: what was seen, by site name.
        rows: positions of the rows seen.
        clip: norm to which a longer whole was clipped, or None.
        ids: (n,) known special tokens in place; unknown ones hold the padding id.
        free: (n,) True where the token is unknown.
        allowed: ids that can occur inside a text.
    """

    model: PublicModel
    sites: tuple[Site, ...]
    tensors: Mapping[str, Tensor]
    rows: Tensor
    clip: float | None
    ids: Tensor
    free: Tensor
    allowed: Tensor

    @classmethod
    def of(cls, observation: Activations[PublicModel]) -> "Target":
        """Collect what is public and known; an unknown length is taken for the number of rows.

        Args:
            observation: what was seen.
        """
        knowledge, vocabulary = observation.knowledge, observation.model.vocabulary
        seen = max(tensor.shape[-2] for tensor in observation.tensors.values())
        length = seen if knowledge.length is None else knowledge.length
        ids, free, allowed = blanks(vocabulary, length)
        return cls(
            model=observation.model,
            sites=observation.sites,
            tensors=observation.tensors,
            rows=torch.arange(seen) if knowledge.kept is None else torch.tensor(knowledge.kept),
            clip=knowledge.clip,
            ids=ids,
            free=free,
            allowed=allowed,
        )

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    def shown(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the seen part of activations (C, n, d) or (C, H, n, n), clipped as the release was.

        Args:
            found: whole activations by site name.
        """
        parts = {}
        for site in self.sites:
            tensor = found[site.name]
            if len(self.rows) < self.length:
                tensor = tensor[..., self.rows, :]
                tensor = tensor[..., self.rows] if site.signal is Signal.PROBABILITIES else tensor
            parts[site.name] = tensor
        if self.clip is None:
            return parts
        energy = sum(tensor.flatten(1).square().sum(1) for tensor in parts.values())
        factor = (self.clip / torch.as_tensor(energy).sqrt().clamp_min(1e-30)).clamp_max(1.0)
        return {name: tensor * factor.view(-1, *[1] * (tensor.dim() - 1)) for name, tensor in parts.items()}

    def distances(self, found: Mapping[str, Tensor]) -> Tensor:
        """Return `sum_s ||a_s - seen_s||^2 / ||seen_s||^2` over the sites (C,), differentiable.

        Args:
            found: whole activations by site name.
        """
        total = torch.zeros(())
        for name, tensor in self.shown(found).items():
            seen = self.tensors[name]
            energy = seen.square().sum().clamp_min(1e-30)
            total = total + (tensor - seen).flatten(1).square().sum(1) / energy
        return total / len(self.sites)

    def residuals(self, ids: Tensor) -> Tensor:
        """Return the relative residual `||replay - seen|| / ||seen||` (C,) over all sites of guesses (C, n).

        Args:
            ids: guesses.
        """
        energy = sum(float(tensor.double().square().sum()) for tensor in self.tensors.values())
        parts = []
        for part in ids.split(max(1, TOKENS // self.length)):
            found = self.shown(self.model.activations(part, self.sites))
            away = [(found[s.name] - self.tensors[s.name]).flatten(1).double().square().sum(1) for s in self.sites]
            parts.append(torch.stack(away).sum(0))
        return (torch.cat(parts) / max(energy, 1e-30)).sqrt()

    def permuted_residual(self, ids: Tensor) -> float:
        """Return the relative residual of one guess (n,) after the best matching of its rows with those seen.

        Args:
            ids: the guess.
        """
        found = self.shown(self.model.activations(ids[None], self.sites))
        cost = torch.zeros(len(self.rows), len(self.rows), dtype=torch.float64)
        wholes = [site for site in self.sites if site.signal is not Signal.PROBABILITIES]
        for site in wholes:
            seen = self.tensors[site.name].double()
            cost += torch.cdist(seen, found[site.name][0].double()).square()
        if not wholes:
            return float("nan")
        rows, columns = linear_sum_assignment(cost.numpy())
        energy = sum(float(self.tensors[site.name].double().square().sum()) for site in wholes)
        return float(cost[rows, columns].sum() / energy) ** 0.5


def blanks(vocabulary: Vocabulary, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids (n,) with the known special tokens in place, where a token is unknown (n,), and what may stand there.

    Args:
        vocabulary: of the public model.
        length: n.
    """
    ids = torch.full((length,), vocabulary.pad or 0)
    free = torch.ones(length, dtype=torch.bool)
    prefix, suffix = vocabulary.prefix[:length], vocabulary.suffix
    ids[: len(prefix)] = torch.tensor(prefix, dtype=torch.long)
    free[: len(prefix)] = False
    if suffix and length > len(prefix) + len(suffix):
        ids[-len(suffix) :] = torch.tensor(suffix)
        free[-len(suffix) :] = False
    return ids, free, torch.tensor([i for i in range(vocabulary.size) if i not in vocabulary.special])


def noise_share(observation: Activations[PublicModel], name: str) -> Tensor:
    """Return the expected squared relative error of each row that the release brought in: (m,).

    Gaussian noise has one deviation for the whole release. Rounding has the variance of an error that is
    uniform within a step, `u |a| / sqrt(24)` on average over a binade of a float, and one step a tensor
    for int8. A pruned entry is taken to have been uniform below the smallest one that stayed.

    Args:
        observation: what was seen.
        name: a site with one row per token.
    """
    knowledge, seen = observation.knowledge, observation.tensors[name].double()
    energy = sum(float(tensor.double().square().sum()) for tensor in observation.tensors.values())
    entries = sum(tensor.numel() for tensor in observation.tensors.values())
    variance = knowledge.noise**2 * energy / (1 + knowledge.noise**2) / max(1, entries)
    each = torch.full_like(seen, variance)
    if knowledge.dtype == "int8":
        each = each + (float(seen.abs().max()) / 127) ** 2 / 12
    elif knowledge.dtype != "float32":
        each = each + ROUNDING[knowledge.dtype] ** 2 * seen.square() / 24
    if knowledge.prune:
        kept = seen.abs()[seen != 0]
        each = each + (seen == 0) * (float(kept.min()) ** 2 / 3 if len(kept) else 0.0)
    # A mechanism's noise is part of what was seen: of the row's energy, a share of spread / (1 + spread).
    spread = knowledge.spread.get(name, 0.0)
    return each.sum(1) / seen.square().sum(1).clamp_min(1e-30) + spread / (1 + spread)
