"""An image from what a vision transformer computed of it: far fewer unknowns than equations, so solve for it."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.images.rehearsal import linear_reading
from unmask.attacks.images.solver import explore, settle
from unmask.attacks.images.target import FLOAT32, Target
from unmask.attacks.images.waves import Waves
from unmask.errors import BadInput
from unmask.observation import Activations
from unmask.vision import Images, VisionModel

LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Even pictures to begin with."""
FIRST_RIDGE = 1e-3
ENOUGH = 4 * FLOAT32
"""Relative residual that rounding in the victim's float32 leaves of a true image."""
PLAIN = 2.0
"""A residual of so many times the noise says that there is no need to begin elsewhere."""


@dataclass(frozen=True, kw_only=True)
class ImageNewton:
    """Gauss-Newton on the pixels through the public layers, with a ridge that goes to zero.

    The tokens are an affine map of the pixels: an image of p pixels is p unknowns, while n tokens of width
    d that were seen are n d equations. With noise the ridge stops at the weight that the noise's known size
    gives it, `noise^2 / m` for m numbers seen: the most likely image under a prior of smooth pictures.

    Where the model comes with public pictures, a linear reading learned on them is the first start: behind
    several layers the descent ends in a wrong valley from an even picture, and mostly in the right one from
    there. Even pictures come next, and alone if there are no public ones.

    Args:
        starts: how many of the even pictures take part: those whose replay is nearest.
        explored: steps from the starts, matrix-free and side by side.
        products: products with the Jacobian in one of them.
        settled: steps after that with the best candidate and its whole Jacobian.
        largest: images of more numbers than this never form the Jacobian; they explore on.

    Raises:
        BadInput: if a number is below 1.

    Example:
        >>> next(ImageNewton().run(observation, generator)).images.shape  # doctest: +SKIP
        torch.Size([1, 1, 32, 32])
    """

    name: ClassVar[str] = "image-newton"
    source: ClassVar[str] = "this project; Levenberg-Marquardt in wave coordinates"
    starts: int = field(default=3)
    explored: int = field(default=16)
    products: int = field(default=60)
    settled: int = field(default=60)
    largest: int = field(default=4096)

    def __post_init__(self) -> None:
        for name in ("starts", "explored", "products"):
            if getattr(self, name) < 1:
                raise BadInput(name, getattr(self, name), "is below 1", "give at least 1")

    def run(self, observation: Activations[VisionModel], generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield ever better images with the relative residual of their replay."""
        target = Target(observation=observation)
        if target.hindrance:
            yield Reconstruction(tokens=(), loss=math.inf, note=target.hindrance, done=True)
            return
        waves = Waves(shape=observation.model.shape)
        pixels = math.prod(observation.model.shape)
        note = "" if target.size >= pixels else f"{target.size} numbers seen of {pixels} unknown ones"
        floor = max(target.noise, FLOAT32) ** 2 / target.size
        if observation.model.examples is not None and pixels <= self.largest:
            solved = yield from self._read(target, waves, observation.model.examples, floor, note)
            if solved:
                return
        best = self._start(target, waves)
        for w, squares in explore(
            lambda w: target.residuals(waves.image(w)),
            best,
            ridge=FIRST_RIDGE,
            floor=max(floor, 1e-12),
            steps=self.explored,
            products=self.products,
        ):
            chosen = int(squares.argmin())
            best = w[chosen : chosen + 1]
            yield self._guess(target, waves.image(best), note)
        finished = self._settle(target, waves, best.double(), floor)
        for w, squared in finished:
            yield self._guess(target, waves.image(w), note, done=squared**0.5 <= ENOUGH)

    def _read(
        self, target: Target, waves: Waves, examples: Images, floor: float, note: str
    ) -> Generator[Reconstruction, None, bool]:
        """Yield what a linear reading leads to, and return whether it explains what was seen."""
        image = linear_reading(target, examples)
        yield self._guess(target, image, note)
        least = math.inf
        for w, squared in self._settle(target, waves, waves.coordinates(image).double(), floor):
            least = squared**0.5
            yield self._guess(target, waves.image(w), note, done=least <= ENOUGH)
        return least <= PLAIN * target.noise

    def _start(self, target: Target, waves: Waves) -> Tensor:
        even = torch.stack([torch.full(waves.shape, level) for level in LEVELS])
        with torch.no_grad():
            order = target.residuals(even).norm(dim=1).argsort()
        return waves.coordinates(even[order[: self.starts]])

    def _settle(self, target: Target, waves: Waves, w: Tensor, floor: float) -> Iterator[tuple[Tensor, float]]:
        def residuals(w: Tensor) -> Tensor:
            return target.residuals(waves.image(w))

        if w.numel() <= self.largest:
            yield from settle(residuals, residuals, w, ridge=floor, steps=self.settled)
            return
        more = self.products * 5
        for found, squares in explore(residuals, w, ridge=1e-9, floor=floor, steps=self.settled, products=more):
            yield found, float(squares[0])

    def _guess(self, target: Target, image: Tensor, note: str, *, done: bool = False) -> Reconstruction:
        pixels = image.detach().clamp(0, 1).float()
        with torch.no_grad():
            # Of the clamped picture and in the victim's format: what is handed over is what is certified.
            residual = float(target.residuals(pixels).double().norm())
        return Reconstruction(tokens=(), images=pixels, loss=residual, residual=residual, note=note, done=done)
