"""The parameter surface in an audit: a network's weights before and after training."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from unmask.errors import BadInput
from unmask.surface import Release
from unmask.surfaces.parameters import ParameterSurface
from unmask.weights import WeightsObservation, WeightsVictim


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Shows the weights before and after training, or as a control the same change dealt to other neurons.

    Args:
        shuffled: whether the first layer's change is dealt to its neurons anew: its size and rank stay,
            and no image explains it.
        knows_count: whether the number of training images is known.
        release: number format, and noise as a share of the norm of the weight change.

    Raises:
        BadInput: if the release clips, prunes or rounds to int8.

    Example:
        >>> PublishedWeights(release=Release(dtype="bfloat16")).shuffled
        False
    """

    name: ClassVar[str] = "parameters"
    shuffled: bool = field(default=False)
    knows_count: bool = field(default=False)
    release: Release = field(default=Release())

    def __post_init__(self) -> None:
        for argument, given in (("--clip", self.release.clip), ("--prune", self.release.prune)):
            if given:
                raise BadInput(argument, given, "has no meaning on the parameters surface", "leave it out")
        if self.release.dtype == "int8":
            raise BadInput("--dtype", "int8", "is not built for weights", "choose float32, float16 or bfloat16")

    def with_release(self, release: Release) -> "PublishedWeights":
        """Return the same surface with another release.

        Args:
            release: what is done to the weights before they are seen.
        """
        return replace(self, release=release)

    def observe(self, victim: WeightsVictim, generator: torch.Generator) -> WeightsObservation:
        """Return what is published.

        Args:
            victim: who trained.
            generator: source of the noise and of the control's order.

        Raises:
            BadInput: if weights do not fit the model, are not finite, or did not change.
        """
        final = dict(victim.final)
        change = torch.cat([(final[name] - victim.start[name]).double().flatten() for name in final])
        if self.shuffled:
            order = torch.randperm(victim.model.hidden[0], generator=generator)
            for name in final:
                if name.startswith("layer.0."):
                    final[name] = victim.start[name] + (final[name] - victim.start[name])[order]
        noise = self.release.noise * float(change.norm()) / len(change) ** 0.5
        shown = ParameterSurface(dtype=self.release.dtype, noise=noise, knows_count=self.knows_count)
        count = None if victim.secret is None else victim.secret.size
        return shown.observe(victim.model, victim.start, final, generator, count=count)

    def rounding(self, victim: WeightsVictim) -> float:
        """Raise: an ordinary training cannot be replayed, so that no residual certifies a guess.

        Args:
            victim: a victim with a decoy for a secret.

        Raises:
            BadInput: always.
        """
        raise BadInput("surface", self.name, "cannot be replayed", "compare with the controls")
