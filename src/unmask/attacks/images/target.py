"""What was seen of an image's forward pass, and how far a candidate's replay is from it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unmask.observation import Activations
from unmask.site import Signal, Site
from unmask.vision import VisionModel

FLOAT32 = 1e-7
"""Relative rounding of a forward pass in float32."""
ROUNDING = {"float32": 0.0, "float16": 2.0**-12 / 3**0.5, "bfloat16": 2.0**-9 / 3**0.5}
"""Relative rounding of one entry: uniform in half a unit of the last place on either side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """The numbers seen as one vector of norm 1, and the same of candidates.

    Args:
        observation: what was seen.
    """

    observation: Activations[VisionModel]

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where it was seen."""
        return self.observation.sites

    @property
    def hindrance(self) -> str:
        """Why the rows cannot be put beside a replay's, or empty."""
        known = self.observation.knowledge
        if known.permuted:
            return "the order of the rows is unknown: this attack needs to know which patch a row belongs to"
        if known.kept is None and known.length is None:
            return "it is unknown which rows are missing"
        return ""

    @cached_property
    def norm(self) -> float:
        """Euclidean norm of everything that was seen."""
        return float(torch.cat([self._seen(site).flatten() for site in self.sites]).double().norm())

    @cached_property
    def _live(self) -> Tensor | None:
        """Which entries say anything: a pruned one only says that it was small."""
        if not self.observation.knowledge.prune:
            return None
        return torch.cat([self._seen(site).flatten() for site in self.sites]) != 0

    @cached_property
    def noise(self) -> float:
        """Norm of what was added to the exact numbers, divided by theirs, as the threat model states it."""
        known = self.observation.knowledge
        entries = [self._seen(site) for site in self.sites]
        if known.dtype == "int8":
            steps = [float(part.abs().max()) / 127 for part in entries]
            squares = sum(step**2 / 12 * part.numel() for step, part in zip(steps, entries, strict=True))
            rounding = squares**0.5 / self.norm
        else:
            rounding = ROUNDING[known.dtype]
        return float((FLOAT32**2 + rounding**2 + known.noise**2) ** 0.5)

    @cached_property
    def size(self) -> int:
        """Number of numbers that count."""
        live = self._live
        return sum(self._seen(site).numel() for site in self.sites) if live is None else int(live.sum())

    def residuals(self, images: Tensor) -> Tensor:
        """Return replay minus seen (C, size) for images (C, channels, height, width), relative to what was seen."""
        found = self.observation.model.activations(images, self.sites)
        replay = torch.cat([self._kept(site, found[site.name]).flatten(1) for site in self.sites], 1)
        seen = torch.cat([self._seen(site).flatten() for site in self.sites]).to(images.dtype)
        if self.observation.knowledge.clip is not None:
            # Clipping scales everything by one unknown factor.
            replay = replay * (seen.norm() / replay.norm(dim=1, keepdim=True).clamp_min(1e-12))
        difference = (replay - seen) / self.norm
        live = self._live
        return difference if live is None else difference[:, live]

    def _seen(self, site: Site) -> Tensor:
        return self.observation.tensors[site.name]

    def _kept(self, site: Site, found: Tensor) -> Tensor:
        kept = self.observation.knowledge.kept
        if kept is None:
            return found
        rows = list(kept)
        return found[:, :, rows][..., rows] if site.signal is Signal.PROBABILITIES else found[:, rows]
