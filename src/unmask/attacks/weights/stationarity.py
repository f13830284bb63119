"""The published attacks on the weights after training alone: they are a stationary point of the training."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attack import Reconstruction
from unmask.attacks.weights.gradient_sums import counted, gap, outside_box, squared, strongest, surrogate_gate
from unmask.distill.signals import Signals, signals
from unmask.errors import BadInput
from unmask.weights import WeightsObservation


@dataclass(frozen=True, kw_only=True)
class Stationarity:
    """Minimise over candidates z_j and multipliers l_j, with the weights theta after training.

        L = || theta - (1/M) sum_j l_j grad m_j(z_j) ||^2 + floor_weight sum_j relu(floor - l_j)^2
            + box * sum relu(pixel - 1)^2 + relu(-pixel)^2

    `margin`: a network of homogeneous layers, trained on a logistic loss, goes to a point that satisfies
    the Karush-Kuhn-Tucker conditions of the largest margin: m is `y f(z)` with fixed, balanced labels y,
    or of several classes `f_y - max_{k != y} f_k`, and l is not negative (Haim et al.; Buzaglo et al.).
    `decay`: with weight decay, any loss is stationary where the same holds for m = f, with l of either
    sign and one for each output (Buzaglo et al.).

    ReLU is exact forwards; every derivative of it is sigmoid(sharpness z). Images and multipliers descend
    with momentum 0.9.

    Args:
        name: registered name.
        source: publication.
        kind: which stationarity.
        count: training images, if neither the observation nor a rank tells.
        factor: candidates per training image.
        steps: of descent.
        rate: of the images.
        multiplier_rate: of the multipliers.
        spread: deviation of a candidate's pixels around the middle at the start.
        floor: least multiplier.
        floor_weight: of the penalty below it.
        box: weight of the penalty on pixels.
        sharpness: of the derivative.
        every: steps from one guess to the next.

    Raises:
        BadInput: if the kind is unknown or a number is not positive.

    Source: Haim et al., NeurIPS 2022, arXiv 2206.07758; Buzaglo et al., NeurIPS 2023, arXiv 2307.01827.
    """

    name: str = "stationarity"
    source: str = "Haim et al., NeurIPS 2022, arXiv 2206.07758; Buzaglo et al., NeurIPS 2023, arXiv 2307.01827"
    kind: str = "margin"
    count: int = 50
    factor: float = 2.0
    steps: int = 50_000
    rate: float = 0.1
    multiplier_rate: float = 0.1
    spread: float = 0.01
    floor: float = 0.4
    floor_weight: float = 5.0
    box: float = 1.0
    sharpness: float = 50.0
    every: int = field(default=100)

    def __post_init__(self) -> None:
        if self.kind not in ("margin", "decay"):
            raise BadInput("kind", self.kind, "is no stationarity", "name margin or decay")
        for name in ("count", "factor", "steps", "rate", "multiplier_rate", "spread", "sharpness", "every"):
            if not getattr(self, name) > 0:
                raise BadInput(name, getattr(self, name), "is not positive", "give a positive number")

    def run(self, observation: WeightsObservation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the candidates every `every` steps."""
        model = observation.model
        count = max(1, round(self.factor * (counted(observation) or self.count)))
        theta = {name: tensor.float() for name, tensor in observation.final.items()}
        size = float(squared(theta))
        images = self.spread * torch.randn(count, model.sizes[0], generator=generator)
        if model.offset is None:
            images = images + 0.5
        labels = torch.arange(count) % max(2, model.outputs)
        signed = self.kind == "decay"
        shape = (count, model.outputs) if signed else (count, 1)
        draw = torch.randn(shape, generator=generator) if signed else torch.rand(shape, generator=generator)
        images.requires_grad_()
        multipliers = draw.requires_grad_()
        groups = [{"params": [images], "lr": self.rate}, {"params": [multipliers], "lr": self.multiplier_rate}]
        descent = torch.optim.SGD(groups, momentum=0.9)
        gate = surrogate_gate(self.sharpness)
        for step in range(self.steps):
            seen = signals(model, theta, images, gate)
            duals = multipliers if signed else multipliers * directions(seen, labels)
            unexplained = gap(seen.combine(duals / count), theta)
            loss = unexplained + self.box * images.numel() * outside_box(model, images)
            if not signed:
                loss = loss + self.floor_weight * F.relu(self.floor - multipliers).square().sum()
            descent.zero_grad()
            loss.backward()
            last = step + 1 == self.steps
            if step % self.every == 0 or last:
                if not bool(torch.isfinite(loss)):
                    note = f"the descent diverged before step {step}: lower rate and multiplier_rate"
                    yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
                    return
                yield Reconstruction(
                    tokens=(),
                    images=strongest(model.images(images.detach().double()), multipliers.detach()).clamp(0, 1),
                    loss=float(loss.detach()),
                    residual=(float(unexplained.detach()) / size) ** 0.5,
                    note=f"step {step} of {self.steps}, {count} candidates",
                    done=last,
                )
            descent.step()


def directions(seen: Signals, labels: Tensor) -> Tensor:
    """Return by how much each output enters the margin (M, C): its label's +1, the runner-up's -1.

    Of one output it is the label as +-1.

    Args:
        seen: of the candidates.
        labels: (M,) class indices.
    """
    if seen.outputs.shape[1] == 1:
        return (2.0 * labels - 1)[:, None].to(seen.outputs.dtype)
    own = F.one_hot(labels, seen.outputs.shape[1]).to(seen.outputs.dtype)
    others = seen.outputs.detach().masked_fill(own.bool(), -torch.inf).argmax(1)
    return own - F.one_hot(others, seen.outputs.shape[1]).to(seen.outputs.dtype)
