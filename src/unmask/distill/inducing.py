"""Few images that train a network as many do: kernel inducing points."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from unmask.distill.kernel_machine import gram
from unmask.distill.losses import Grams, kip, ridged, rkip
from unmask.distill.ntk import AnalyticNTK
from unmask.errors import BadInput


class Method(StrEnum):
    """Which loss the few images make small; see `unmask.distill.losses`."""

    KIP = "kip"
    RKIP = "rkip"


@dataclass(frozen=True, kw_only=True, eq=False)
class Distilled:
    """A small training set.

    Args:
        inputs: (M, D) pixels as the network reads them.
        wanted: (M, C) targets.
        loss: the method's loss.
        step: steps taken.
    """

    inputs: Tensor
    wanted: Tensor
    loss: float
    step: int


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Settings of the search for a small set: Adam on the pixels, which start as noise and stay in [0, 1].

    The training images enter the kernels only; no pixel of the small set begins as one of theirs.

    Args:
        method: `kip` or `rkip`.
        count: images of the small set, M.
        learn_labels: take the targets that make the loss least for the pixels of the moment (least squares
            for KIP; the outputs of the network trained on everything for RKIP) in place of fixed +-1.
        steps: steps of Adam.
        learning_rate: its step size, falling to a tenth along a half cosine.
        ridge: regulariser of the inverses as a share of a kernel's mean diagonal.
        spread: deviation of the noise at the start, around 1/2.

    Raises:
        BadInput: if a setting is out of range.

    Example:
        >>> Distillation(count=20).method
        <Method.KIP: 'kip'>
    """

    method: Method = field(default=Method.KIP)
    count: int
    learn_labels: bool = field(default=False)
    steps: int = field(default=2000)
    learning_rate: float = field(default=0.02)
    ridge: float = field(default=1e-2)
    spread: float = field(default=0.2)

    def __post_init__(self) -> None:
        if self.count < 1 or self.steps < 1:
            raise BadInput("count", self.count, "and the number of steps must be positive", "give at least 1")
        if self.learning_rate <= 0 or self.ridge <= 0 or self.spread < 0:
            raise BadInput("distillation", vars(self), "is out of range", "rate > 0, ridge > 0, spread >= 0")


def balanced(count: int, outputs: int) -> Tensor:
    """Return fixed targets (M, C) that take turns among the classes: +-1, or one-hot minus 1/C.

    Args:
        count: M.
        outputs: C; 1 stands for two classes.
    """
    classes = torch.arange(count) % max(2, outputs)
    if outputs == 1:
        return (2.0 * classes - 1)[:, None].double()
    return torch.nn.functional.one_hot(classes, outputs).double() - 1 / outputs


def distill(
    kernel: AnalyticNTK, inputs: Tensor, wanted: Tensor, settings: Distillation, generator: torch.Generator
) -> Iterator[Distilled]:
    """Yield the small set every 100 steps and at the end, in float64.

    Args:
        kernel: the tangent kernel of the network for which the set is made.
        inputs: (N, D) private pixels in [0, 1].
        wanted: (N, C) their targets.
        settings: of the search.
        generator: source of the noise at the start.

    Raises:
        BadInput: if there are not more images than the small set shall have, or the loss diverges.
    """
    if settings.count >= len(inputs):
        raise BadInput("count", settings.count, f"does not distil {len(inputs)} images", "give a smaller count")
    inputs, wanted = inputs.double(), wanted.double()
    whole = gram(kernel, inputs)
    known = torch.linalg.solve(ridged(whole, settings.ridge), wanted)
    points = 0.5 + settings.spread * torch.randn(
        settings.count, inputs.shape[1], generator=generator, dtype=torch.float64
    )
    points = points.clamp(0, 1).requires_grad_()
    fixed = None if settings.learn_labels else balanced(settings.count, wanted.shape[1])
    optimiser = torch.optim.Adam([points], lr=settings.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps, eta_min=settings.learning_rate / 10)
    for step in range(settings.steps + 1):
        grams = Grams(whole=whole, mixed=kernel(inputs, points), few=gram(kernel, points))
        duals = _duals(grams, wanted, known, fixed, settings)
        loss = kip(grams, wanted, duals) if settings.method is Method.KIP else rkip(grams, known, duals)
        if not bool(loss.isfinite()):
            raise BadInput("learning_rate", settings.learning_rate, "lets the loss diverge", "make it smaller")
        if step % 100 == 0 or step == settings.steps:
            targets = (ridged(grams.few, settings.ridge) @ duals).detach() if fixed is None else fixed
            yield Distilled(inputs=points.detach().clone(), wanted=targets, loss=float(loss.detach()), step=step)
        if step == settings.steps:
            return
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
        with torch.no_grad():
            points.clamp_(0, 1)


def _duals(grams: Grams, wanted: Tensor, known: Tensor, fixed: Tensor | None, settings: Distillation) -> Tensor:
    """Return the duals (M, C) of the small set, with the best targets where they are not fixed."""
    if fixed is not None:
        return torch.linalg.solve(ridged(grams.few, settings.ridge), fixed)
    if settings.method is Method.RKIP:
        return torch.linalg.solve(ridged(grams.few, settings.ridge), grams.mixed.T @ known)
    # Least squares for the duals is ill-posed where kernels are; the small set's own norm decides then.
    normal = grams.mixed.T @ grams.mixed / len(wanted) + settings.ridge * grams.few
    size = settings.ridge * 1e-3 * normal.diagonal().mean() * torch.eye(len(normal), dtype=normal.dtype)
    return torch.linalg.solve(normal + size, grams.mixed.T @ wanted / len(wanted))
