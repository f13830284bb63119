"""A training that is to be published: the task, what leaves it, and what a defence of it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unmask.defence import Guarantee
from unmask.victims.mlp import Descent, Weights, train
from unmask.weights import PublicMLP


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is to be trained.

    Args:
        model: the architecture.
        start: weights before training.
        inputs: (N, D) private inputs.
        wanted: (N, C) their targets.
        descent: how training goes unless a defence changes it.
    """

    model: PublicMLP
    start: Weights
    inputs: Tensor
    wanted: Tensor
    descent: Descent


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """What leaves a defended training, and what stays.

    Args:
        start: weights before training as an adversary has them: the true ones, or a guess where they are secret.
        final: the published weights.
        loss: training loss on what was trained on.
        steps: steps taken.
        hidden: (D,) secret image with which every input must be blended half and half, or None.
        taught: (M, D) inputs that stood in for the private ones, or None.
        shrunk: factor by which settings that everyone knows (weight decay) shrank the start.
    """

    start: Mapping[str, Tensor]
    final: Mapping[str, Tensor]
    loss: float
    steps: int
    hidden: Tensor | None = field(default=None)
    taught: Tensor | None = field(default=None)
    shrunk: float = field(default=1.0)

    def outputs(self, model: PublicMLP, inputs: Tensor) -> Tensor:
        """Return what the owner answers for inputs (B, D)."""
        return model(self.final, inputs if self.hidden is None else (inputs + self.hidden) / 2)


@runtime_checkable
class TrainingDefence(Protocol):
    """Frozen settings, and one method that trains."""

    @property
    def name(self) -> str:
        """How the command line calls it."""

    def guarantee(self) -> Guarantee:
        """Return what holds for the published weights."""

    def train(self, task: Task, generator: torch.Generator) -> Published:
        """Train, and publish."""


def plainly(task: Task) -> Published:
    """Train in the usual way and publish everything.

    Args:
        task: what is to be trained.
    """
    done = train(task.model, task.start, task.inputs, task.wanted, task.descent)
    return Published(start=task.start, final=done.weights, loss=done.loss, steps=done.steps)
