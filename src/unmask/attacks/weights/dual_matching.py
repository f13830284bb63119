"""The published attack on weights before and after training: candidates and duals by Adam."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.weights.gradient_sums import Tensors, counted, gap, outside_box, squared, strongest
from unmask.distill.signals import signals, softplus_gate
from unmask.errors import BadInput
from unmask.weights import PublicMLP, WeightsObservation


@dataclass(frozen=True, kw_only=True)
class DualMatching:
    """Minimise over candidates z_j and duals a_jc, one for each output c.

        L = || theta_f - theta_0 - (1/M) sum_jc a_jc grad f_c(z_j) ||^2 + box * M * mean(outside [0, 1])^2

    Gradients are taken at theta_f, at theta_0, or at both with duals of their own. ReLU is replaced by
    softplus(beta z) / beta with beta = min(10 + 10^(t / 20000), 200) at step t. M = `factor` * N.

    Args:
        name: registered name.
        source: publication.
        at: where gradients are taken.
        factor: candidates per training image.
        steps: of Adam.
        learning_rate: of images and duals.
        spread: deviation of a candidate's pixels at the start, around the offset.
        box: weight of the penalty.
        every: steps from one guess to the next.

    Raises:
        BadInput: if `at` is unknown or a number is not positive.

    Source: Loo et al., ICLR 2024, arXiv 2302.01428, and its code.
    """

    name: str = "dual-matching"
    source: str = "Loo et al., ICLR 2024, arXiv 2302.01428"
    at: str = "final"
    factor: float = 2.0
    steps: int = 80_000
    learning_rate: float = 0.02
    spread: float = 0.2
    box: float = 0.1
    every: int = field(default=100)

    def __post_init__(self) -> None:
        if self.at not in ("final", "start", "both"):
            raise BadInput("at", self.at, "is no place", "name final, start or both")
        for name in ("factor", "steps", "learning_rate", "spread", "every"):
            if not getattr(self, name) > 0:
                raise BadInput(name, getattr(self, name), "is not positive", "give a positive number")

    def run(self, observation: WeightsObservation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the candidates every `every` steps."""
        if observation.start is None:
            note = "needs the weights before training"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
            return
        model = observation.model
        count = max(1, round(self.factor * (counted(observation) or 1)))
        wanted = {name: tensor.float() for name, tensor in observation.tensors.items()}
        known = {"final": observation.final, "start": observation.start}
        places = [known[name] for name in (("final", "start") if self.at == "both" else (self.at,))]
        places = [{name: tensor.float() for name, tensor in place.items()} for place in places]
        images = self.spread * torch.randn(count, model.sizes[0], generator=generator)
        if model.offset is None:
            images = images + 0.5  # the middle of the box, where the mean image would be
        duals = torch.rand(len(places), count, model.outputs, generator=generator) - 0.5
        images.requires_grad_()
        duals.requires_grad_()
        adam = torch.optim.Adam([images, duals], lr=self.learning_rate)
        size = float(squared(wanted))
        for step in range(self.steps):
            beta = min(10 + 10 ** (step / 20_000), 200)
            unexplained = gap(self.sums(model, places, images, duals, beta), wanted)
            loss = unexplained + self.box * count * outside_box(model, images)
            adam.zero_grad()
            loss.backward()
            last = step + 1 == self.steps
            if step % self.every == 0 or last:
                yield Reconstruction(
                    tokens=(),
                    images=strongest(model.images(images.detach().double()), duals.detach().abs().sum(0)).clamp(0, 1),
                    loss=float(loss.detach()),
                    residual=(float(unexplained.detach()) / size) ** 0.5,
                    note=f"step {step} of {self.steps}, {count} candidates",
                    done=last,
                )
            adam.step()

    @staticmethod
    def sums(model: PublicMLP, places: list[Tensors], images: Tensor, duals: Tensor, beta: float) -> dict[str, Tensor]:
        """Return `(1/M) sum_pjc a_pjc grad f_c(z_j)` at the places p, by parameter name.

        Args:
            model: the architecture.
            places: weights at which gradients are taken.
            images: (M, D) candidates as inputs.
            duals: (places, M, C).
            beta: sharpness of the softplus.
        """
        total: dict[str, Tensor] = {}
        for weights, own in zip(places, duals, strict=True):
            for name, part in signals(model, weights, images, softplus_gate(beta)).combine(own / len(images)).items():
                total[name] = total[name] + part if name in total else part
        return total
