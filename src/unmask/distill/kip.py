"""Distilled data: a few images whose kernel predictor does what that of the whole training set does.

`f_T = sum_i (K_TT^{-1} y_T)_i k(x_i, .)` is learned from the training set T, `f_S` from a small set S.

    RKIP:  ||f_T - f_S||_H^2 / 2           the reconstruction loss with fewer candidates than images
    KIP:   mean_i (y_i - f_S(x_i))^2 / 2   the error of f_S on T (Nguyen et al. 2021)

As `(f_T - f_S)(X_T) = J (f_T - f_S)` with `J J^T = K_TT`, `||(f_T - f_S)(X_T)||^2 <= lambda_max(K_TT)
||f_T - f_S||_H^2`: a set that reconstructs well distils well, `N KIP <= lambda_max RKIP` for exact fits.
Equality holds where `f_T - f_S` is the top eigenfunction on T.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from unmask.distill.ntk import ReluKernel
from unmask.errors import BadInput


class Objective(StrEnum):
    """What distillation minimises."""

    KIP = "kip"
    RKIP = "rkip"


def ridged(kernel: Tensor, share: float) -> Tensor:
    """Return `K + share tr(K) / n I`.

    Args:
        kernel: (n, n).
        share: ridge as a share of the mean diagonal entry.
    """
    return kernel + share * kernel.trace() / len(kernel) * torch.eye(len(kernel), dtype=kernel.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """The training set as the losses need it.

    Args:
        inputs: (N, D).
        wanted: (N, C) targets.
        kernel: a kernel with `gram`.
        ridge: share of the mean diagonal that is added before kernels are inverted, and only there.
    """

    inputs: Tensor
    wanted: Tensor
    kernel: ReluKernel
    ridge: float = field(default=1e-5)

    def duals(self, inputs: Tensor, wanted: Tensor) -> Tensor:
        """Return `(K + ridge)^{-1} y` of any set: (M, D), (M, C) -> (M, C)."""
        return torch.linalg.solve(ridged(self.kernel.gram(inputs), self.ridge), wanted)

    def predict(self, inputs: Tensor, wanted: Tensor, where: Tensor) -> Tensor:
        """Return what is learned from a set (M, D), (M, C), at (P, D): (P, C)."""
        return self.kernel(where, inputs) @ self.duals(inputs, wanted)


def kip_loss(teacher: Teacher, inputs: Tensor, wanted: Tensor) -> Tensor:
    """Return `mean_i ||y_i - f_S(x_i)||^2 / 2` over the training set.

    Args:
        teacher: the training set.
        inputs: (M, D) distilled inputs.
        wanted: (M, C) their targets.
    """
    error = teacher.wanted - teacher.predict(inputs, wanted, teacher.inputs)
    return error.square().sum(1).mean() / 2


def rkip_loss(
    teacher: Teacher, inputs: Tensor, wanted: Tensor, duals: Tensor | None = None, squared: float | None = None
) -> Tensor:
    """Return `||f_T - f_S||_H^2 / 2`, summed over outputs.

    Args:
        teacher: the training set.
        inputs: (M, D) distilled inputs.
        wanted: (M, C) their targets.
        duals: `teacher.duals` of the training set if at hand: they cost a solve of its size.
        squared: `||f_T||_H^2` if at hand.
    """
    alpha = teacher.duals(teacher.inputs, teacher.wanted) if duals is None else duals
    if squared is None:
        squared = float((alpha * (teacher.kernel.gram(teacher.inputs) @ alpha)).sum())
    beta = teacher.duals(inputs, wanted)
    own = (beta * (teacher.kernel.gram(inputs) @ beta)).sum()
    cross = (alpha * (teacher.kernel(teacher.inputs, inputs) @ beta)).sum()
    return (own - 2 * cross + squared) / 2


def guard(inputs: Tensor, training: Tensor, distance: float) -> Tensor:
    """Return `mean_s (m - min(d_s, m))^2`, zero once every distilled image is `m` away from all training images.

    `d_s` is the squared distance to the nearest one. It keeps copies out; it proves nothing.

    Args:
        inputs: (M, D) distilled.
        training: (N, D).
        distance: `m`, a squared distance.
    """
    squares = inputs.square().sum(1)[:, None] + training.square().sum(1)[None] - 2 * inputs @ training.T
    return (distance - squares.amin(1).clamp_max(distance)).square().mean()


@dataclass(frozen=True, kw_only=True, eq=False)
class Distilled:
    """A distilled set.

    Args:
        inputs: (M, D).
        wanted: (M, C).
        loss: the objective without the guard.
        steps: steps taken.
    """

    inputs: Tensor
    wanted: Tensor
    loss: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Adam on the distilled inputs, and on their targets if asked for.

    Args:
        objective: KIP or RKIP.
        steps: steps.
        learning_rate: Adam's step size.
        learn_targets: whether targets are optimised too.
        spread: deviation of the Gaussian start.
        distance: squared distance that the guard keeps from training images; 0 for none.
        guard_weight: weight of the guard.
        every: steps between two states that are yielded.

    Raises:
        BadInput: if a number is not positive.
    """

    objective: Objective = Objective.RKIP
    steps: int = 50_000
    learning_rate: float = 1e-3
    learn_targets: bool = False
    spread: float = 0.2
    distance: float = 0.0
    guard_weight: float = 50.0
    every: int = 100

    def __post_init__(self) -> None:
        if min(self.steps, self.every) < 1 or self.learning_rate <= 0:
            raise BadInput("distillation", self.steps, "is out of range", "positive steps, every and learning_rate")

    def run(self, teacher: Teacher, wanted: Tensor, generator: torch.Generator) -> Iterator[Distilled]:
        """Yield the distilled set every `every` steps and at the end.

        Args:
            teacher: the training set.
            wanted: (M, C) targets of the distilled images, such as balanced labels.
            generator: source of the start.
        """
        shape = (len(wanted), teacher.inputs.shape[1])
        start = self.spread * torch.randn(shape, generator=generator, dtype=torch.float64)
        inputs, goal = start.requires_grad_(), wanted.clone().requires_grad_(self.learn_targets)
        optimiser = torch.optim.Adam([inputs, goal] if self.learn_targets else [inputs], lr=self.learning_rate)
        loss_of = self._loss(teacher)
        for step in range(1, self.steps + 1):
            loss = loss_of(inputs, goal)
            total = loss
            if self.distance:
                total = loss + self.guard_weight * guard(inputs, teacher.inputs, self.distance)
            optimiser.zero_grad()
            total.backward()
            if step % self.every == 0 or step == self.steps:
                yield Distilled(
                    inputs=inputs.detach().clone(), wanted=goal.detach().clone(), loss=float(loss), steps=step
                )
            optimiser.step()

    def _loss(self, teacher: Teacher) -> Callable[[Tensor, Tensor], Tensor]:
        if self.objective is Objective.KIP:
            return lambda inputs, goal: kip_loss(teacher, inputs, goal)
        alpha = teacher.duals(teacher.inputs, teacher.wanted)
        squared = float((alpha * (teacher.kernel.gram(teacher.inputs) @ alpha)).sum())
        return lambda inputs, goal: rkip_loss(teacher, inputs, goal, alpha, squared)
