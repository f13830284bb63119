"""The attention surface: activations of one forward pass, as a host of a part of the model sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.observation import ActivationKnowledge, Activations
from unmask.public import PublicModel
from unmask.site import Signal, Site
from unmask.surface import Release
from unmask.surfaces.gradient import check
from unmask.surfaces.release import norm, perturb
from unmask.surfaces.site_selector import ALL, select_sites
from unmask.victim import Victim

CROWD = 8
"""Copies of a decoy that are replayed at once: attacks replay many guesses together, and that rounds otherwise."""


@dataclass(frozen=True, kw_only=True)
class ActivationSurface:
    """What stands at some sites while the model reads one text.

    Rows are tokens. Some may be missing, as in a cache that was pruned, and they may come in an order
    that the adversary does not know, the same one at every site.

    Args:
        select: which sites; see `unmask.surfaces.site_selector`.
        missing: share of the rows, in [0, 1), that is not seen; drawn anew for each text, at least one stays.
        knows_positions: whether the adversary knows which rows are missing, and how many there were.
        permuted: whether the rows are in an unknown order.
        release: what is done to the tensors before they are seen.

    Raises:
        BadInput: if a setting is out of its range.

    Example:
        >>> ActivationSurface(select="0.block").observe(victim, generator)  # doctest: +SKIP
    """

    name: ClassVar[str] = "attention"
    select: str = field(default=ALL)
    missing: float = field(default=0.0)
    knows_positions: bool = field(default=True)
    permuted: bool = field(default=False)
    release: Release = field(default=Release())

    def __post_init__(self) -> None:
        if not 0 <= self.missing < 1:
            raise BadInput("--missing", self.missing, "is no share in [0, 1)", "give one, such as 0.25")

    def with_release(self, release: Release) -> "ActivationSurface":
        """Return the same surface with another release.

        Args:
            release: what is done to the tensors before they are seen.
        """
        return replace(self, release=release)

    def observe(self, victim: Victim, generator: torch.Generator) -> Activations[PublicModel]:
        """Return what stands at the selected sites, by site name.

        Args:
            victim: whose text is read.
            generator: randomness of missing rows, their order and the noise.

        Raises:
            BadInput: if the selection matches nothing, there is not exactly one text, or a number is not finite.
            NoSignal: if every entry is zero.
        """
        secret, model = victim.secret, victim.model
        if secret is None:
            raise BadInput("victim", model.name, "has no secret", "give it texts")
        if secret.size > 1:
            rule = "texts in one forward pass are not told apart on the attention surface"
            raise BadInput("--batch", secret.size, rule, "give 1")
        chosen = select_sites(model.sites, model.heads, self.select)
        length = secret.lengths[0]
        found = model.activations(secret.ids[:, :length], chosen)
        return show(self, {name: tensor[0] for name, tensor in found.items()}, chosen, model, generator)

    def rounding(self, victim: Victim) -> float:
        """Return how far the replay of a victim's own secret, a public decoy, lies from its activations.

        Args:
            victim: a victim with a decoy for a secret.

        Raises:
            BadInput: if the decoy leaves no trace at the selected sites.
        """
        exact = replace(self, missing=0.0, permuted=False, release=Release())
        seen = exact.observe(victim, torch.Generator())
        assert victim.secret is not None  # observed
        ids = victim.secret.ids[:, : victim.secret.lengths[0]]
        crowd = victim.model.activations(torch.cat([ids] * CROWD), seen.sites)
        return norm({name: crowd[name][0] - tensor for name, tensor in seen.tensors.items()}) / norm(seen.tensors)


def show(
    surface: ActivationSurface,
    tensors: Mapping[str, Tensor],
    sites: Sequence[Site],
    model: PublicModel,
    generator: torch.Generator,
) -> Activations[PublicModel]:
    """Return activations as the surface shows them: rows dropped and permuted, then released.

    Args:
        surface: what is seen.
        tensors: the exact activations by site name.
        sites: their sites.
        model: the public model.
        generator: randomness of missing rows, their order and the noise.

    Raises:
        BadInput: if a number is not finite or a head is not there.
        NoSignal: if every entry is zero.
    """
    for site in sites:
        if not tensors[site.name].numel():
            raise BadInput("--select", site.name, "names a head that keys and values share", "choose a lower one")
    length = max(tensor.shape[-2] for tensor in tensors.values())
    kept = max(1, length - int(surface.missing * length))
    # Sorted unless permuted: what is missing and the order are two facts.
    rows = torch.randperm(length, generator=generator)[:kept]
    rows = rows if surface.permuted else rows.sort().values
    shown = {site.name: _rows(site, tensors[site.name], rows) for site in sites}
    check(shown, argument="activations", value=surface.select)
    released = perturb(shown, surface.release, generator)
    check(released, argument="released activations", value=surface.select)
    known = surface.knows_positions or kept == length
    knowledge = ActivationKnowledge(
        dtype=surface.release.dtype,
        noise=surface.release.noise,
        clip=surface.release.clip,
        prune=surface.release.prune,
        permuted=surface.permuted,
        kept=tuple(rows.sort().values.tolist()) if known and kept < length else None,
        length=length if known else None,
    )
    return Activations(tensors=released, sites=tuple(sites), model=model, knowledge=knowledge)


def _rows(site: Site, tensor: Tensor, rows: Tensor) -> Tensor:
    if site.signal is Signal.PROBABILITIES:
        return tensor[..., rows, :][..., rows]
    return tensor[rows]
