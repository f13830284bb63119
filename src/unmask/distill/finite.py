"""Few images from the weights of a trained network of finite width: RKIP-finite."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.distill.inducing import Distilled
from unmask.distill.signals import Gate, exact_gate, gradient_kernel, signals, softplus_gate
from unmask.errors import BadInput
from unmask.weights import Activation, PublicMLP


@dataclass(frozen=True, kw_only=True)
class FiniteDistillation:
    """Settings: Adam on the pixels of a few images, whose gradients shall sum to a weight change.

    Args:
        count: images of the small set, M.
        steps: steps of Adam.
        learning_rate: its step size, falling to a tenth along a half cosine.
        ridge: regulariser of the kernel's inverse as a share of its mean diagonal.
        spread: deviation of the noise at the start, around 1/2.
        softness: ReLU is searched as `softplus(b z) / b` with b rising from this to 20 times this.

    Raises:
        BadInput: if a setting is out of range.
    """

    count: int
    steps: int = field(default=1000)
    learning_rate: float = field(default=0.02)
    ridge: float = field(default=1e-5)
    spread: float = field(default=0.2)
    softness: float = field(default=10.0)

    def __post_init__(self) -> None:
        if self.count < 1 or self.steps < 1:
            raise BadInput("count", self.count, "and the number of steps must be positive", "give at least 1")
        if min(self.learning_rate, self.ridge, self.softness) <= 0 or self.spread < 0:
            raise BadInput("distillation", vars(self), "is out of range", "positive numbers, spread >= 0")


def distill_finite(
    model: PublicMLP,
    start: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    settings: FiniteDistillation,
    generator: torch.Generator,
) -> Iterator[Distilled]:
    """Yield the small set every 100 steps and at the end.

    With `delta = final - start` and gradients g_j = grad f(z_j) at the final weights, the loss is

        min_a |delta - sum_j a_j g_j|^2 / |delta|^2 = 1 - p^T (K + ridge)^-1 p / |delta|^2,   p_j = <delta, g_j>

    with K the empirical kernel of the few images. Targets are `K a`, the change of the tangent's outputs
    at the few images: a network that starts at outputs y_0 is to be trained to `y_0 + K a`. No training
    image is read, so this is an attack as much as a distillation.

    Args:
        model: the architecture.
        start: weights before training.
        final: weights after it.
        settings: of the search.
        generator: source of the noise at the start.

    Raises:
        BadInput: if the weights did not change, or the loss diverges.

    Source: Loo et al., ICLR 2024, arXiv 2302.01428, section on RKIP-finite.
    """
    dtype = next(iter(start.values())).dtype
    delta = {name: final[name] - start[name] for name in start}
    size = sum(float(each.square().sum()) for each in delta.values())
    if not size:
        raise BadInput("final", "weights", "equal the weights before training", "train, or give the right file")
    pixels = model.sizes[0]
    points = 0.5 + settings.spread * torch.randn(settings.count, pixels, generator=generator, dtype=dtype)
    points = points.clamp(0, 1).requires_grad_()
    optimiser = torch.optim.Adam([points], lr=settings.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps, eta_min=settings.learning_rate / 10)
    for step in range(settings.steps + 1):
        gate = _gate(model.activation, settings.softness * 20 ** (step / settings.steps))
        loss, targets = _fitted(model, final, delta, model.inputs(points.unflatten(1, model.shape)), settings, gate)
        loss = 1 - loss / size
        if not bool(loss.isfinite()):
            raise BadInput("learning_rate", settings.learning_rate, "lets the loss diverge", "make it smaller")
        if step % 100 == 0 or step == settings.steps:
            yield Distilled(
                inputs=points.detach().clone(), wanted=targets.detach(), loss=float(loss.detach()), step=step
            )
        if step == settings.steps:
            return
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
        with torch.no_grad():
            points.clamp_(0, 1)


def _fitted(
    model: PublicMLP,
    final: Mapping[str, Tensor],
    delta: Mapping[str, Tensor],
    inputs: Tensor,
    settings: FiniteDistillation,
    gate: Gate,
) -> tuple[Tensor, Tensor]:
    """Return how much of the squared change the images' gradients explain, and their targets (M, C)."""
    seen = signals(model, final, inputs, gate)
    length = len(inputs) * model.outputs
    kernel = gradient_kernel(seen, seen).reshape(length, length)
    shares = seen.project(delta).reshape(length)
    solid = kernel + settings.ridge * kernel.diagonal().mean() * torch.eye(length, dtype=kernel.dtype)
    duals = torch.linalg.solve(solid, shares)
    return shares @ duals, (kernel @ duals).reshape(len(inputs), model.outputs)


def _gate(activation: Activation, sharpness: float) -> Gate:
    """Return a smooth stand-in for ReLU, whose second derivative shows the way; other activations as they are."""
    return softplus_gate(sharpness) if activation is Activation.RELU else exact_gate(activation)
