"""The gradient of a DP-SGD step: clipped per sequence and noised, or read before either was done."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.observation import Observation
from unmask.surfaces.behind import Behind
from unmask.surfaces.gradient import GradientSurface, as_seen, check
from unmask.surfaces.release import perturb
from unmask.surfaces.selector import ALL, select
from unmask.victim import Secret, Victim


class Reading(StrEnum):
    """Where in the step the adversary reads.

    `RELEASED`: what leaves the step, clipped and noised.
    `PRE_NOISE`: the plain gradient of the batch, before the optimiser clips and noises it. No adversary of a
    correct implementation sees it; attacks that read it say nothing about DP-SGD.
    """

    RELEASED = "released"
    PRE_NOISE = "pre-noise"


@dataclass(frozen=True, kw_only=True)
class DpGradientSurface(Behind):
    """Some tensors of `(sum_b g_b min(1, C / ||g_b||) + sigma C z) / B`, z standard normal in every entry.

    The norm of a sequence's gradient `g_b` is taken over all trained parameters of the model, seen or not. The loss of
    a sequence is the mean over its own predicted tokens, or its class's cross-entropy.

    Args:
        base: which tensors are seen, and what is known of the batch; its release is applied on top.
        clip: C.
        noise: sigma, the noise's deviation over C.
        reading: where in the step the adversary reads.
        train: which parameters the step moves, in the language of selections; the others have no gradient to see.

    Raises:
        BadInput: if a setting is out of its range, or the base takes several local steps.

    Example:
        >>> DpGradientSurface(base=GradientSurface(select="0.query"), clip=1.0, noise=0.5).reading
        <Reading.RELEASED: 'released'>
    """

    name: ClassVar[str] = "dp-gradient"
    base: GradientSurface = field(default=GradientSurface())
    clip: float = field(default=1.0)
    noise: float = field(default=1.0)
    reading: Reading = field(default=Reading.RELEASED)
    train: str = field(default=ALL)

    def __post_init__(self) -> None:
        if not 0 < self.clip < float("inf"):
            raise BadInput("clip", self.clip, "is no positive norm", "give one, such as 1.0")
        if not 0 <= self.noise < float("inf"):
            raise BadInput("noise", self.noise, "is negative or not finite", "give a multiple of the clipping norm")
        if self.base.local_steps != 1:
            remedy = "attack one step, or the steps without DP-SGD"
            raise BadInput("--local-steps", self.base.local_steps, "is not how DP-SGD releases gradients", remedy)

    def observe(self, victim: Victim, generator: torch.Generator) -> Observation:
        """Return the selected tensors of the step as (d_out, d_in) float32 by place name.

        Args:
            victim: whose data is at risk.
            generator: randomness of dropout masks and noise.

        Raises:
            BadInput: if the selection matches nothing, there is no secret, or a gradient is not finite.
            NoSignal: if every entry is zero.
        """
        chosen = select(victim.model.places, self.select)
        moving = {place.parameter for place in select(victim.model.places, self.train, argument="train")}
        if frozen := [place.name for place in chosen if place.parameter not in moving]:
            raise BadInput("--select", frozen[0], "is not trained, so that it has no gradient", f"see {self.train}")
        if self.reading is Reading.PRE_NOISE:
            return self.base.observe(victim, generator)
        if victim.secret is None:
            raise BadInput("victim", victim.model.name, "has no secret", "give it texts, or attack a saved gradient")
        total: dict[str, Tensor] = {}
        for sequence in _sequences(victim.secret):
            own = self._clipped(replace(victim, secret=sequence), moving, generator)
            total = {name: total[name] + tensor if total else tensor for name, tensor in own.items()}
        batch, deviation = victim.secret.size, self.noise * self.clip
        noised = {
            name: (tensor + deviation * torch.randn(tensor.shape, generator=generator)) / batch
            for name, tensor in total.items()
        }
        tensors = {place.name: as_seen(place, noised[place.parameter]) for place in chosen}
        check(tensors, argument="gradient", value=self.select)
        seen = self.base.knowledge(victim.secret)
        return Observation(
            tensors=perturb(tensors, self.release, generator),
            model=victim.model,
            knowledge=replace(seen, sequence_clip=self.clip, deviation=deviation / batch),
        )

    def _clipped(self, victim: Victim, moving: set[str], generator: torch.Generator) -> dict[str, Tensor]:
        """Return one sequence's gradient by the trained parameters, scaled down to the clipping norm.

        Raises:
            BadInput: if it is not finite.
        """
        assert victim.secret is not None  # one of a batch
        parameters = {
            name: tensor.detach().requires_grad_(True) for name, tensor in victim.mechanism.parameters().items()
        }
        loss = victim.mechanism.loss(parameters, victim.secret, dropout=self.base.dropout, generator=generator)
        wanted = {name: tensor for name, tensor in parameters.items() if self.train == ALL or name in moving}
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
        gradients = {
            name: torch.zeros_like(parameter) if gradient is None else gradient
            for (name, parameter), gradient in zip(wanted.items(), found, strict=True)
        }
        norm = float(sum(gradient.double().square().sum() for gradient in gradients.values())) ** 0.5
        if not norm < float("inf"):
            raise BadInput("gradient", victim.model.name, "is not finite", "look for a diverged model")
        factor = min(1.0, self.clip / max(norm, torch.finfo(torch.float64).tiny))
        return {name: gradient * factor for name, gradient in gradients.items()}


def _sequences(secret: Secret) -> list[Secret]:
    """Return each sequence of a batch alone, without filling."""
    return [
        Secret(
            ids=secret.ids[row : row + 1, :length],
            mask=secret.mask[row : row + 1, :length],
            labels=None if secret.labels is None else secret.labels[row : row + 1],
            texts=secret.texts[row : row + 1],
        )
        for row, length in enumerate(secret.lengths)
    ]
