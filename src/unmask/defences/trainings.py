"""Defences of published weights that change what is trained, or what of it is published."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch

from unmask.defence import Guarantee
from unmask.defences.guaranteed import guaranteed
from unmask.defences.training_task import Published, Task, TrainingDefence, plainly
from unmask.distill.inducing import Distillation, Method, distill
from unmask.distill.ntk import AnalyticNTK
from unmask.errors import BadInput
from unmask.privacy import accountant
from unmask.victims.mlp import initial
from unmask.victims.private_descent import PrivateDescent, train_private


class _Empirical:
    """Shared by all that prove nothing."""

    def guarantee(self) -> Guarantee:
        """Return that nothing is guaranteed."""
        return Guarantee()


@dataclass(frozen=True, kw_only=True)
class Undefended(_Empirical):
    """Ordinary training, everything published."""

    name: ClassVar[str] = "none"

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train in the usual way."""
        return plainly(task)


@dataclass(frozen=True, kw_only=True)
class EarlyStopping(_Empirical):
    """Stop when the training loss falls below a bound."""

    name: ClassVar[str] = "early-stopping"
    loss: float = field(default=0.1)

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train for a shorter time."""
        return plainly(replace(task, descent=replace(task.descent, loss=self.loss)))


@dataclass(frozen=True, kw_only=True)
class WeightDecay(_Empirical):
    """Add `decay |theta|^2 / 2` to the loss. Its settings are public, so the adversary undoes the shrinking."""

    name: ClassVar[str] = "weight-decay"
    decay: float = field(default=0.05)

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train with decay."""
        done = plainly(replace(task, descent=replace(task.descent, weight_decay=self.decay)))
        share, speed = 1.0, 0.0
        for _ in range(done.steps):
            speed = task.descent.momentum * speed + self.decay * share
            share -= task.descent.learning_rate * speed
        return replace(done, shrunk=share)


@dataclass(frozen=True, kw_only=True)
class WeightNoise(_Empirical):
    """Add Gaussian noise to the published weights, of the given share of the norm of their change."""

    name: ClassVar[str] = "weight-noise"
    noise: float = field(default=0.1)

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train in the usual way and add noise."""
        done = plainly(task)
        change = torch.cat([(done.final[name] - task.start[name]).flatten() for name in task.start])
        spread = self.noise * float(change.norm()) / len(change) ** 0.5
        final = {
            name: tensor + spread * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            for name, tensor in done.final.items()
        }
        return replace(done, final=final)


@dataclass(frozen=True, kw_only=True)
class SecretStart(_Empirical):
    """Never tell the weights before training; the adversary draws others in the same way."""

    name: ClassVar[str] = "secret-start"

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train in the usual way, from secret weights."""
        guess = initial(task.model, generator, task.inputs.dtype)
        return replace(plainly(task), start=guess)


@dataclass(frozen=True, kw_only=True)
class SecretOffset(_Empirical):
    """Blend every input half and half with one secret image of noise, in training and in use."""

    name: ClassVar[str] = "secret-offset"

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train on the blends."""
        hidden = torch.rand(task.inputs.shape[1], generator=generator, dtype=task.inputs.dtype)
        return replace(plainly(replace(task, inputs=(task.inputs + hidden) / 2)), hidden=hidden)


@dataclass(frozen=True, kw_only=True)
class DpDescent:
    """DP-SGD on the whole set at every step; epsilon counts all steps.

    Args:
        epsilon: the guarantee that the noise is found for.
        delta: of the guarantee; below one over the number of training images.
        clip: norm to which each image's gradient is scaled down.
        steps: number of steps.
        learning_rate: step size.
    """

    name: ClassVar[str] = "dp-sgd"
    epsilon: float = field(default=8.0)
    delta: float = field(default=1e-3)
    clip: float = field(default=1.0)
    steps: int = field(default=30)
    learning_rate: float = field(default=0.1)

    @cached_property
    def sigma(self) -> float:
        """Deviation of the noise over the clipping norm."""
        return accountant.noise_for(self.epsilon, self.delta, 1.0, self.steps)

    def guarantee(self) -> Guarantee:
        """Return epsilon of all steps; it holds for fresh randomness, not for a seeded run."""
        return guaranteed(accountant.claim(self.sigma, 1.0, self.steps, self.delta, unit="one training image"))

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train with clipped and noised steps, in place of the given descent."""
        private = PrivateDescent(learning_rate=self.learning_rate, steps=self.steps, clip=self.clip, noise=self.sigma)
        done = train_private(task.model, task.start, task.inputs, task.wanted, private, generator)
        return Published(start=task.start, final=done.weights, loss=done.loss, steps=done.steps)


@dataclass(frozen=True, kw_only=True)
class DistilledTraining(_Empirical):
    """Train on a few distilled images in place of the private ones (`unmask.distill.inducing`).

    The few images carry what the task needs, so nothing is proved: this is no differential privacy.

    Args:
        count: images of the distilled set.
        method: `kip` or `rkip`.
        learn_labels: see `Distillation`.
        steps: steps of the distillation.
    """

    name: ClassVar[str] = "distillation"
    count: int = field(default=4)
    method: Method = field(default=Method.KIP)
    learn_labels: bool = field(default=False)
    steps: int = field(default=300)

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Distil, then train on the distilled images.

        Raises:
            BadInput: if the model subtracts a public offset, or there are too few images to distil.
        """
        if task.model.offset is not None:
            raise BadInput("offset", "a public one", "is not built for distillation", "leave it out")
        settings = Distillation(count=self.count, method=self.method, learn_labels=self.learn_labels, steps=self.steps)
        kernel = AnalyticNTK(hidden=task.model.layers - 1, bias=task.model.bias)
        *_, few = distill(kernel, task.inputs, task.wanted, settings, generator)
        taught = few.inputs.to(task.inputs.dtype)
        done = plainly(replace(task, inputs=taught, wanted=few.wanted.to(task.inputs.dtype)))
        return replace(done, taught=taught)


TRAININGS: Mapping[str, type[TrainingDefence]] = {
    kind.name: kind for kind in (EarlyStopping, WeightDecay, WeightNoise, DpDescent, DistilledTraining)
}
"""Those that an audit applies, by the name under which the command line knows them.

The secrets are left out: against them an audit without further attacks would prove too much.
"""
