"""The neural tangent kernel of an infinitely wide ReLU network, in closed form."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class AnalyticNTK:
    """Kernel of a ReLU network of given depth in the NTK parametrisation, as its widths go to infinity.

    With `S_0 = x . z / D`, biases zero at the start and trained (b = 1) or absent (b = 0), and
    `T_0 = S_0 + b`, each hidden layer maps, for the angle t of the layer's inputs (Cho and Saul 2009),

        S_l = sqrt(S_l-1(x, x) S_l-1(z, z)) (sin t + (pi - t) cos t) / (2 pi)
        T_l = S_l + b + T_l-1 (pi - t) / (2 pi)

    and T of the last one is the kernel (Jacot et al. 2018). It is a function of `x . z` and of both
    norms, and smooth except where z points along x or against it: there it has the kink of t.

    Args:
        hidden: number of hidden layers.
        bias: whether layers have biases, zero at the start.

    Raises:
        BadInput: if there is no hidden layer.

    Example:
        >>> AnalyticNTK(hidden=1, bias=False)(torch.eye(2).double(), torch.eye(2).double())[0, 0]
        tensor(0.5000, dtype=torch.float64)
    """

    hidden: int = field(default=1)
    bias: bool = field(default=True)

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise BadInput("hidden", self.hidden, "leaves no hidden layer", "give at least 1")

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the kernel (B, P) of inputs (B, D) and (P, D); it can be differentiated off the kinks.

        Args:
            left: (B, D).
            right: (P, D).
        """
        size = left.shape[1]
        one, other = left.square().sum(1) / size, right.square().sum(1) / size
        return self.of_products(left @ right.T / size, one[:, None], other[None])

    def of_products(self, product: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """Return the kernel of `x . z / D`, `|x|^2 / D` and `|z|^2 / D`, of shapes that broadcast.

        Args:
            product: scaled inner products.
            one: scaled squared norms.
            other: the same of the other side.
        """
        tangent = product + float(self.bias)
        for _ in range(self.hidden):
            scale = (one * other).sqrt()
            cosine = (product / scale).clamp(-1, 1)
            # The cosine's own rounding near 1 would cost half of the digits of the angle.
            sine = ((scale - product).clamp_min(0) * (scale + product).clamp_min(0)).sqrt() / scale
            angle = torch.atan2(sine, cosine)
            product = scale * (sine + (math.pi - angle) * cosine) / (2 * math.pi)
            tangent = product + float(self.bias) + tangent * (math.pi - angle) / (2 * math.pi)
            one, other = one / 2, other / 2
        return tangent

    def of_self(self, inputs: Tensor) -> Tensor:
        """Return `k(x, x)` (B,) without rounding of the angle.

        Args:
            inputs: (B, D).
        """
        norm = inputs.square().sum(1) / inputs.shape[1]
        tangent = norm + float(self.bias)
        for _ in range(self.hidden):
            norm = norm / 2
            tangent = norm + float(self.bias) + tangent / 2
        return tangent
