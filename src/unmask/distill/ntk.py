"""Kernels of infinitely wide ReLU perceptrons in closed form, and how far a finite network is from its own.

With `S_0 = w^2 x.z / D + b^2` and, per hidden layer, the arc-cosine recursion of Cho and Saul (2009)

    c = S(x,z) / sqrt(S(x,x) S(z,z)),   t = arccos(c)
    E  = sqrt(S(x,x) S(z,z)) (sin t + (pi - t) c) / (2 pi)      [E relu relu]
    E' = (pi - t) / (2 pi)                                       [E relu' relu']
    S_{l+1} = w^2 E + b^2,   T_{l+1} = S_{l+1} + w^2 T_l E',   T_0 = S_0

`S` of the last layer is the kernel of the Gaussian process (NNGP), `T` the neural tangent kernel.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.distill.signals import gradient_kernel, signals
from unmask.errors import BadInput
from unmask.weights import PublicMLP


@dataclass(frozen=True, kw_only=True)
class ReluKernel:
    """The kernels of an infinitely wide ReLU perceptron in the NTK parametrisation.

    Args:
        hidden: number of hidden layers.
        weight: deviation w of the weights.
        bias: deviation b of the biases; as in networks whose biases are scaled by it, they train.
        tangent: the neural tangent kernel, or that of the Gaussian process.

    Raises:
        BadInput: if there is no hidden layer or a deviation is out of range.

    Example:
        >>> x = torch.eye(2, dtype=torch.float64)
        >>> float(ReluKernel(hidden=1, bias=0.0)(x, x)[0, 0])
        0.5
    """

    hidden: int = 2
    weight: float = 1.0
    bias: float = 0.1
    tangent: bool = True

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.weight <= 0 or self.bias < 0:
            raise BadInput("kernel", vars(self), "is out of range", "hidden >= 1, weight > 0, bias >= 0")

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the kernel (B, P) of inputs (B, D) and (P, D), differentiable in both."""
        w, b, d = self.weight**2, self.bias**2, left.shape[1]
        cross = w * left @ right.T / d + b
        own_left = w * left.square().sum(1) / d + b
        own_right = w * right.square().sum(1) / d + b
        tangent = cross
        for _ in range(self.hidden):
            norms = (own_left[:, None] * own_right[None]).clamp_min(1e-300).sqrt()
            mean, gates = _arc_cosine(cross / norms)
            cross = w * norms * mean + b
            tangent = cross + w * tangent * gates
            own_left, own_right = w * own_left / 2 + b, w * own_right / 2 + b
        return tangent if self.tangent else cross

    def diagonal(self, inputs: Tensor) -> Tensor:
        """Return `k(x, x)` as (B,) for inputs (B, D), smooth where `self(x, x)` has a cusp."""
        w, b = self.weight**2, self.bias**2
        own = w * inputs.square().sum(1) / inputs.shape[1] + b
        tangent = own
        for _ in range(self.hidden):
            own = w * own / 2 + b
            tangent = own + w * tangent / 2
        return tangent if self.tangent else own

    def gram(self, inputs: Tensor) -> Tensor:
        """Return `self(x, x)` with the diagonal in closed form: rounding of the cosine would cost half the digits."""
        full = self(inputs, inputs)
        eye = torch.eye(len(inputs), dtype=torch.bool)
        return torch.where(eye, self.diagonal(inputs)[:, None], full)


class _ArcCosine(torch.autograd.Function):
    """`E relu relu / norms` and `E relu' relu'` of a cosine, with derivatives `E'` and `1 / (2 pi sin t)`.

    At a cosine of 1 the second derivative is infinite: a cusp. It is set to zero there, the mean of
    the two sides, so that a point which has reached another stays.
    """

    @staticmethod
    def forward(ctx, cosine: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        c = cosine.clamp(-1, 1)
        angle = torch.arccos(c)
        gates = (math.pi - angle) / (2 * math.pi)
        sine = (1 - c.square()).clamp_min(0).sqrt()
        ctx.save_for_backward(gates, sine)
        return sine / (2 * math.pi) + gates * c, gates

    @staticmethod
    def backward(ctx, grad_mean: Tensor, grad_gates: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        gates, sine = ctx.saved_tensors
        cusp = torch.where(sine > 1e-9, 1 / (2 * math.pi * sine.clamp_min(1e-9)), torch.zeros_like(sine))
        return grad_mean * gates + grad_gates * cusp


def _arc_cosine(cosine: Tensor) -> tuple[Tensor, Tensor]:
    return _ArcCosine.apply(cosine)


def empirical(model: PublicMLP, parameters: Mapping[str, Tensor], left: Tensor, right: Tensor | None = None) -> Tensor:
    """Return the neural tangent kernel of a finite network as (B, C, P, C), by sums over layers.

    Args:
        model: the architecture.
        parameters: its weights.
        left: (B, D).
        right: (P, D), or None for the same inputs.
    """
    one = signals(model, parameters, left)
    return gradient_kernel(one, one if right is None else signals(model, parameters, right))


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Return `1 - <K, L> / (||K|| ||L||)`, 0 for kernels equal up to a factor; of start and end: the kernel drift.

    Args:
        first: a kernel of any shape.
        second: one of the same shape.
    """
    return float(1 - (first * second).sum() / (first.norm() * second.norm()))
