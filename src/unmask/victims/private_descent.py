"""Gradient descent on clipped gradients with noise: DP-SGD on the whole training set at every step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.distill.signals import Signals, signals
from unmask.errors import BadInput
from unmask.victims.mlp import Trained
from unmask.weights import PublicMLP


@dataclass(frozen=True, kw_only=True)
class PrivateDescent:
    """Full-batch gradient descent whose every step is clipped and noised; it never stops early.

        theta <- theta - rate (sum_i g_i min(1, clip / |g_i|) + noise clip N(0, I)) / N

    Args:
        learning_rate: step size.
        steps: number of steps, which must not depend on the data.
        clip: norm to which each image's gradient g_i is scaled down.
        noise: deviation over the clipping norm.

    Raises:
        BadInput: if a setting is out of range.
    """

    learning_rate: float
    steps: int
    clip: float = field(default=1.0)
    noise: float = field(default=1.0)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.steps < 1 or self.clip <= 0 or self.noise < 0:
            raise BadInput("descent", vars(self), "is out of range", "rate and clip > 0, steps >= 1, noise >= 0")


def train_private(
    model: PublicMLP,
    start: Mapping[str, Tensor],
    inputs: Tensor,
    wanted: Tensor,
    descent: PrivateDescent,
    generator: torch.Generator,
) -> Trained:
    """Return the network after noisy gradient descent on `|f(x_i) - y_i|^2 / 2`.

    Args:
        model: the architecture.
        start: weights before training; they are not changed.
        inputs: (N, D).
        wanted: (N, C) targets.
        descent: settings.
        generator: source of the noise; whoever knows its seed subtracts the noise.

    Source: Abadi et al., CCS 2016.
    """
    weights = {name: tensor.clone() for name, tensor in start.items()}
    for _ in range(descent.steps):
        seen = signals(model, weights, inputs)
        error = seen.outputs - wanted
        factor = (descent.clip / lengths(seen, error).clamp_min(1e-12)).clamp_max(1)
        for name, total in seen.combine(error * factor[:, None]).items():
            drawn = torch.randn(total.shape, generator=generator, dtype=total.dtype)
            step = (total + descent.noise * descent.clip * drawn) / len(inputs)
            weights[name].sub_(descent.learning_rate * step)
    loss = float((model(weights, inputs) - wanted).square().sum(1).mean()) / 2
    return Trained(weights=weights, loss=loss, steps=descent.steps)


def lengths(seen: Signals, duals: Tensor) -> Tensor:
    """Return (B,) norms of `sum_c duals_ic grad f_c(x_i)`, without forming any of them.

    Args:
        seen: inputs and returning signals of B images.
        duals: (B, C).
    """
    total = torch.zeros(len(duals), dtype=duals.dtype)
    for layer, (h, delta) in enumerate(zip(seen.entering, seen.returning, strict=True)):
        behind = torch.einsum("bc,bcd->bd", duals, delta).square().sum(1)
        total = total + behind * (seen.scales[layer] ** 2 * h.square().sum(1) + float(seen.bias))
    return total.sqrt()
