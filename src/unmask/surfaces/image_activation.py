"""The attention surface of a vision transformer: activations of one image's forward pass."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from unmask.errors import BadInput
from unmask.observation import Activations
from unmask.surface import Release
from unmask.surfaces.activation import CROWD, ActivationSurface, show
from unmask.surfaces.release import norm
from unmask.surfaces.site_selector import ALL, select_sites
from unmask.vision import ImageVictim, VisionModel


@dataclass(frozen=True, kw_only=True)
class ImageActivationSurface:
    """What stands at some sites while the model looks at one image; a row is a token, that is a patch.

    Args:
        select: which sites; see `unmask.surfaces.site_selector`.
        missing: share of the rows, in [0, 1), that is not seen; drawn anew for each image, at least one stays.
        knows_positions: whether the adversary knows which rows are missing, and how many there were.
        permuted: whether the rows are in an unknown order.
        release: what is done to the tensors before they are seen.

    Raises:
        BadInput: if a setting is out of its range.

    Example:
        >>> ImageActivationSurface(select="0.block").observe(victim, generator)  # doctest: +SKIP
    """

    name: ClassVar[str] = "attention-images"
    select: str = field(default=ALL)
    missing: float = field(default=0.0)
    knows_positions: bool = field(default=True)
    permuted: bool = field(default=False)
    release: Release = field(default=Release())

    def __post_init__(self) -> None:
        self._shared()

    def with_release(self, release: Release) -> "ImageActivationSurface":
        """Return the same surface with another release.

        Args:
            release: what is done to the tensors before they are seen.
        """
        return replace(self, release=release)

    def observe(self, victim: ImageVictim, generator: torch.Generator) -> Activations[VisionModel]:
        """Return what stands at the selected sites, by site name.

        Args:
            victim: whose image passes through the model.
            generator: randomness of missing rows, their order and the noise.

        Raises:
            BadInput: if the selection matches nothing, there is not exactly one image, or a number is not finite.
            NoSignal: if every entry is zero.
        """
        secret, model = victim.secret, victim.model
        if secret is None:
            raise BadInput("victim", model.name, "has no secret", "give it images")
        if secret.size > 1:
            raise BadInput("--batch", secret.size, "images in one forward pass are not told apart", "give 1")
        if tuple(secret.pixels.shape[1:]) != model.shape:
            rule = f"is no image of the model's shape {model.shape}"
            raise BadInput("images", tuple(secret.pixels.shape[1:]), rule, "fit it with unmask.victims.images.fit")
        chosen = select_sites(model.sites, model.heads, self.select)
        with torch.no_grad():
            found = model.activations(secret.pixels, chosen)
        tensors = {name: tensor[0] for name, tensor in found.items()}
        seen = show(self._shared(), tensors, chosen, model, generator)
        held = 0 if model.examples is None else model.examples.size
        return replace(seen, knowledge=replace(seen.knowledge, examples=held))

    def rounding(self, victim: ImageVictim) -> float:
        """Return how far the replay of a victim's own secret, a public decoy, lies from its activations.

        Args:
            victim: a victim with a decoy for a secret.

        Raises:
            BadInput: if the decoy leaves no trace at the selected sites.
        """
        seen = replace(self, missing=0.0, permuted=False, release=Release()).observe(victim, torch.Generator())
        assert victim.secret is not None  # observed
        with torch.no_grad():
            crowd = victim.model.activations(torch.cat([victim.secret.pixels] * CROWD), seen.sites)
        return norm({name: crowd[name][0] - tensor for name, tensor in seen.tensors.items()}) / norm(seen.tensors)

    def _shared(self) -> ActivationSurface:
        """Return the same settings for texts: what happens to rows and numbers is the same."""
        return ActivationSurface(
            select=self.select,
            missing=self.missing,
            knows_positions=self.knows_positions,
            permuted=self.permuted,
            release=self.release,
        )
