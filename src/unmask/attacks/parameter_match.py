"""The published attack on a weight change: match it with a sum of gradients, image by image."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.distill.signals import Signals, exact_gate, signals, softplus_gate
from unmask.errors import BadInput
from unmask.weights import Activation, WeightsObservation


class Point(StrEnum):
    """Where the gradients of the candidates are taken."""

    FINAL = "final"
    START = "start"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class ParameterMatch:
    """`|| dtheta - (1/M) sum_j alpha_j grad f(x_j) ||^2 + box M mean(outside^2)` by Adam.

    M = `amplify` times the number of images; x ~ N(0, `spread`^2), alpha ~ U(-1/2, 1/2), both
    optimised by the same Adam. A ReLU is replaced, in the reconstruction only, by
    `softplus(beta z) / beta` with `beta_t = min(10 + 10^(t / anneal), 200)`; other activations stay.
    With `BOTH` each candidate has a dual for each point. The sum is a product of matrices, layer by
    layer (`Signals.combine`); nothing else differs from the published loop.

    Args:
        name: registered name.
        source: publication.
        point: where gradients are taken; for a linearised training `START` is exact.
        steps: steps of Adam.
        learning_rate: its step size.
        amplify: candidates per image.
        spread: deviation of the candidates' start.
        box: weight of the penalty on pixels outside [0, 1].
        anneal: steps in which the power of ten grows by one.
        count: number of images where the adversary does not know it.
        every: steps between two guesses.

    Raises:
        BadInput: if a number is not positive.
    """

    name: str = "parameter-match"
    source: str = "Loo, Hasani, Lechner, Amini, Rus, ICLR 2024, arXiv 2302.01428"
    point: Point = Point.FINAL
    steps: int = 80_000
    learning_rate: float = 0.02
    amplify: float = 2.0
    spread: float = 0.2
    box: float = 0.1
    anneal: int = 20_000
    count: int = 100
    every: int = 100

    def __post_init__(self) -> None:
        for argument in ("steps", "learning_rate", "amplify", "anneal", "count", "every"):
            if getattr(self, argument) <= 0:
                raise BadInput(argument, getattr(self, argument), "is not positive", "give a positive number")

    def run(self, observation: WeightsObservation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the candidates every `every` steps and at the end."""
        if observation.start is None:
            note = "needs the weights before training"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
            return
        change = observation.tensors
        points = self._points(observation)
        total = sum(float(part.square().sum()) for part in change.values())
        model = observation.model
        size = max(1, round(self.amplify * (observation.knowledge.count or self.count)))
        x = self.spread * torch.randn(size, model.sizes[0], generator=generator, dtype=torch.float64)
        duals = torch.rand(len(points), size, model.outputs, generator=generator, dtype=torch.float64) - 0.5
        x, duals = x.requires_grad_(), duals.requires_grad_()
        optimiser = torch.optim.Adam([x, duals], lr=self.learning_rate)
        for step in range(1, self.steps + 1):
            gate = exact_gate(model.activation)
            if model.activation is Activation.RELU:
                gate = softplus_gate(min(10 + 10 ** ((step - 1) / self.anneal), 200.0))
            seen = [signals(model, weights, x, gate) for weights in points]
            missed = mismatch(change, seen, duals / size)
            pixels = model.images(x)
            outside = (pixels - 1).relu().square() + (-pixels).relu().square()
            optimiser.zero_grad()
            (missed + self.box * size * outside.mean()).backward()
            if step % self.every == 0 or step == self.steps:
                loss = (float(missed) / total) ** 0.5
                note = f"{size} candidates, step {step}, gradients at {self.point.value}"
                images = pixels.detach().clamp(0, 1)
                yield Reconstruction(tokens=(), images=images, loss=loss, residual=loss, note=note)
            optimiser.step()

    def _points(self, observation: WeightsObservation) -> list[Mapping[str, Tensor]]:
        assert observation.start is not None
        start = {name: tensor.double() for name, tensor in observation.start.items()}
        final = {name: tensor.double() for name, tensor in observation.final.items()}
        return {Point.FINAL: [final], Point.START: [start], Point.BOTH: [final, start]}[self.point]


def mismatch(change: Mapping[str, Tensor], seen: list[Signals], duals: Tensor) -> Tensor:
    """Return `|| change - sum_p sum_j duals_pj grad f_p(x_j) ||^2` over all parameters.

    Args:
        change: the weight change by name.
        seen: the candidates' signals at each point.
        duals: (points, M, C).
    """
    left = dict(change)
    for one, weight in zip(seen, duals, strict=True):
        left = {name: left[name] - part for name, part in one.combine(weight).items()}
    return torch.stack([part.square().sum() for part in left.values()]).sum()
