"""The published kind of attack on activations of images: descend on pixels, and prefer smooth pictures."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.images.target import Target
from unmask.errors import BadInput
from unmask.observation import Activations
from unmask.vision import VisionModel


@dataclass(frozen=True, kw_only=True)
class ImageMatch:
    """Adam on the pixels for `||replay - seen||^2 / ||seen||^2 + smoothness TV(x)`, from noise around grey.

    Args:
        steps: of Adam.
        learning_rate: its first rate, which falls to zero along a half cosine.
        smoothness: weight of the total variation, the mean absolute difference of neighbouring pixels.
        every: steps between two guesses.

    Raises:
        BadInput: if a setting is out of its range.

    Source: Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them", 2015.
    """

    name: ClassVar[str] = "image-match"
    source: ClassVar[str] = "Mahendran and Vedaldi 2015"
    steps: int = field(default=800)
    learning_rate: float = field(default=0.05)
    smoothness: float = field(default=1e-3)
    every: int = field(default=50)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1:
            raise BadInput("steps", (self.steps, self.every), "are below 1", "give at least 1")
        if self.learning_rate <= 0 or self.smoothness < 0:
            raise BadInput("learning_rate", self.learning_rate, "is not positive", "give one, such as 0.05")

    def run(self, observation: Activations[VisionModel], generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the picture every few steps."""
        target = Target(observation=observation)
        if target.hindrance:
            yield Reconstruction(tokens=(), loss=math.inf, note=target.hindrance, done=True)
            return
        shape = (1, *observation.model.shape)
        x = (0.5 + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1).requires_grad_(True)
        adam = torch.optim.Adam([x], lr=self.learning_rate)
        for step in range(1, self.steps + 1):
            adam.param_groups[0]["lr"] = self.learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))
            with torch.enable_grad():
                loss = target.residuals(x).square().sum() + self.smoothness * variation(x)
                (x.grad,) = torch.autograd.grad(loss, [x])
            adam.step()
            x.data.clamp_(0, 1)
            if step % self.every == 0 or step == self.steps:
                yield self._guess(target, x.detach().clone(), done=step == self.steps)

    def _guess(self, target: Target, pixels: Tensor, *, done: bool) -> Reconstruction:
        with torch.no_grad():
            residual = float(target.residuals(pixels).double().norm())
            loss = residual**2 + self.smoothness * float(variation(pixels))
        return Reconstruction(tokens=(), images=pixels, loss=loss, residual=residual, done=done)


def variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, a scalar.

    Args:
        x: images (C, channels, height, width).
    """
    return (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()
