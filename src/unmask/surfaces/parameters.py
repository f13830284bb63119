"""The parameter surface: weights before and after a training, as they are published."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.weights import PublicMLP, WeightsKnowledge, WeightsObservation


@dataclass(frozen=True, kw_only=True)
class ParameterSurface:
    """Publishes weights in a number format, with noise where asked for.

    Args:
        knows_start: whether the weights before training are published too.
        knows_count: whether the number of training images is published.
        dtype: float64, float32, float16 or bfloat16.
        noise: deviation of Gaussian noise added to each final weight.

    Raises:
        BadInput: if the format is unknown or the noise negative.
    """

    knows_start: bool = field(default=True)
    knows_count: bool = field(default=False)
    dtype: str = field(default="float32")
    noise: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.dtype not in ("float64", "float32", "float16", "bfloat16"):
            raise BadInput("dtype", self.dtype, "is no format", "choose float64, float32, float16 or bfloat16")
        if self.noise < 0:
            raise BadInput("noise", self.noise, "is negative", "give a deviation")

    def observe(
        self,
        model: PublicMLP,
        start: Mapping[str, Tensor],
        final: Mapping[str, Tensor],
        generator: torch.Generator,
        *,
        count: int | None = None,
        linearised: bool = False,
    ) -> WeightsObservation:
        """Return what is published of a training.

        Args:
            model: the architecture.
            start: weights before training.
            final: weights after training.
            generator: source of the noise.
            count: number of training images; passed on only if `knows_count`.
            linearised: whether the tangent model was trained.
        """
        kind = getattr(torch, self.dtype)

        def noisy(tensor: Tensor) -> Tensor:
            if not self.noise:
                return tensor.to(kind)
            return (tensor + self.noise * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)).to(kind)

        knowledge = WeightsKnowledge(
            count=count if self.knows_count else None,
            start=self.knows_start,
            linearised=linearised,
            dtype=self.dtype,
            noise=self.noise,
        )
        before = {name: tensor.to(kind) for name, tensor in start.items()} if self.knows_start else None
        after = {name: noisy(tensor) for name, tensor in final.items()}
        return WeightsObservation(start=before, final=after, model=model, knowledge=knowledge)
