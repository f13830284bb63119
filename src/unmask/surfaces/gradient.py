"""The gradient surface: what a federated-learning server sees of one client's training step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from unmask.errors import BadInput, NoSignal
from unmask.observation import Knowledge, Observation
from unmask.public import Place
from unmask.surface import Release
from unmask.surfaces.release import perturb
from unmask.surfaces.rounding import gradient_rounding
from unmask.surfaces.selector import ALL, select
from unmask.victim import Secret, Victim


@dataclass(frozen=True, kw_only=True)
class GradientSurface:
    """Some tensors of a batch's training gradient, and what is known about the batch.

    With one step the tensors are `dL/dw` of the batch loss `L`: the mean over the sequences of a
    classifier, the mean over all predicted tokens of the batch for next-token prediction. With
    `local_steps` K > 1 they are `(w_0 - w_K) / learning_rate`, the sum of the gradients of K steps of
    plain gradient descent on the same batch in which all parameters move (FedAvg).

    Args:
        select: which tensors; see `unmask.surfaces.selector`.
        local_steps: number of steps.
        learning_rate: step size; needed if there is more than one step.
        dropout: compute with dropout on; the masks are never known.
        knows_labels: whether the adversary knows the classes.
        knows_lengths: whether it knows the number of tokens of each sequence.
        knows_batch: whether it knows the number of sequences.
        release: what is done to the tensors before they are seen.

    Raises:
        BadInput: if a setting is out of its range.

    Example:
        >>> GradientSurface(select="0.query").observe(victim, generator)  # doctest: +SKIP
    """

    name: ClassVar[str] = "gradient"
    select: str = field(default=ALL)
    local_steps: int = field(default=1)
    learning_rate: float | None = field(default=None)
    dropout: bool = field(default=False)
    knows_labels: bool = field(default=False)
    knows_lengths: bool = field(default=False)
    knows_batch: bool = field(default=True)
    release: Release = field(default=Release())

    def __post_init__(self) -> None:
        if self.local_steps < 1:
            raise BadInput("--local-steps", self.local_steps, "is below 1", "give at least 1")
        if self.local_steps > 1 and self.learning_rate is None:
            raise BadInput("--local-steps", self.local_steps, "needs a step size", "add --learning-rate, such as 0.01")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise BadInput("--learning-rate", self.learning_rate, "is no positive step size", "give one, such as 0.01")

    def with_release(self, release: Release) -> "GradientSurface":
        """Return the same surface with another release.

        Args:
            release: what is done to the tensors before they are seen.
        """
        return replace(self, release=release)

    def observe(self, victim: Victim, generator: torch.Generator) -> Observation:
        """Return the selected tensors of the victim's gradient as (d_out, d_in) float32 by place name.

        Args:
            victim: whose data is at risk.
            generator: randomness of dropout masks and noise.

        Raises:
            BadInput: if the selection matches nothing, there is no secret, or the gradient is not finite.
            NoSignal: if every entry is zero.
        """
        if victim.secret is None:
            raise BadInput("victim", victim.model.name, "has no secret", "give it texts, or attack a saved gradient")
        chosen = select(victim.model.places, self.select)
        change = self._change(victim, victim.secret, [place.parameter for place in chosen], generator)
        tensors = {place.name: as_seen(place, change[place.parameter]) for place in chosen}
        check(tensors, argument="gradient", value=self.select)
        released = perturb(tensors, self.release, generator)
        check(released, argument="released gradient", value=self.select)
        return Observation(tensors=released, model=victim.model, knowledge=self.knowledge(victim.secret))

    def rounding(self, victim: Victim) -> float:
        """Return how far the replay of a victim's own secret, a public decoy, lies from its gradient.

        Args:
            victim: a victim with a decoy for a secret.

        Raises:
            BadInput: if the decoy leaves no trace in the selected tensors.
        """
        seen = self.with_release(Release()).observe(victim, torch.Generator())
        return gradient_rounding(victim, seen.tensors, seen.places)

    def _change(
        self, victim: Victim, secret: Secret, names: Sequence[str], generator: torch.Generator
    ) -> dict[str, Tensor]:
        start = victim.mechanism.parameters()
        # A single step need not differentiate by what is not shown.
        moving = start if self.local_steps > 1 else {name: start[name] for name in dict.fromkeys(names)}
        current = {name: tensor.detach().requires_grad_(name in moving) for name, tensor in start.items()}
        total = {name: torch.zeros_like(tensor) for name, tensor in moving.items()}
        for _ in range(self.local_steps):
            loss = victim.mechanism.loss(current, secret, dropout=self.dropout, generator=generator)
            steps: tuple[Tensor | None, ...] = torch.autograd.grad(
                loss, [current[name] for name in moving], allow_unused=True
            )
            for name, step in zip(moving, steps, strict=True):
                if step is None:
                    continue
                total[name] = total[name] + step
                if self.local_steps > 1:
                    assert self.learning_rate is not None  # checked at construction
                    current[name] = (current[name].detach() - self.learning_rate * step).requires_grad_(True)
        return total

    def knowledge(self, secret: Secret) -> Knowledge:
        """Return what the adversary knows of a batch beside the tensors.

        Args:
            secret: the batch.
        """
        filled = secret.ids.shape[1]
        labels = None if secret.labels is None else tuple(secret.labels.tolist())
        return Knowledge(
            batch=secret.size if self.knows_batch else None,
            labels=labels if self.knows_labels else None,
            lengths=secret.lengths if self.knows_lengths else None,
            padded=filled if self.knows_lengths and min(secret.lengths) < filled else None,
            dropout=self.dropout,
            local_steps=self.local_steps,
            learning_rate=self.learning_rate,
            dtype=self.release.dtype,
            noise=self.release.noise,
            clip=self.release.clip,
            prune=self.release.prune,
        )


def as_seen(place: Place, parameter: Tensor) -> Tensor:
    """Return what belongs to a place of a tensor shaped like its parameter: turned, and cut from a fused one.

    Args:
        place: the place.
        parameter: tensor in the parameter's own shape.
    """
    oriented = parameter.T if place.transposed else parameter
    part = oriented if place.rows is None else oriented[place.rows[0] : place.rows[1]]
    return part.detach().float().contiguous()


def check(tensors: Mapping[str, Tensor], *, argument: str, value: object) -> None:
    """Pass tensors that can be attacked.

    Args:
        tensors: by place name.
        argument: what the caller calls them.
        value: where they come from.

    Raises:
        BadInput: if an entry is not finite.
        NoSignal: if every entry is zero.
    """
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            remedy = "look for a diverged model, an overflow in --dtype or a damaged file"
            raise BadInput(argument, value, f"has NaN or infinite entries at {name}", remedy)
    if not any(bool(tensor.any()) for tensor in tensors.values()):
        remedy = "show tensors that the loss depends on, or prune less"
        raise NoSignal(argument, value, "is zero everywhere", remedy)
