"""The kernel of an infinitely wide network in the long way: expectations by quadrature, gradients of wide networks."""

import math

import torch
from torch import Tensor

from tests.references.parameters import inner, jacobian
from unmask.weights import Parametrisation, PublicMLP


def expectations(covariance: Tensor, steps: int = 20_000) -> tuple[float, float]:
    """Return E[relu(u) relu(v)] and E[relu'(u) relu'(v)] for (u, v) of a covariance, by the trapezium rule.

    With `(u, v) = r L (cos t, sin t)` the radius integrates to 2 and 1 and the angle is summed.
    """
    factor = torch.linalg.cholesky(covariance + 1e-15 * torch.eye(2, dtype=torch.float64))
    angle = torch.arange(steps, dtype=torch.float64) * (2 * math.pi / steps)
    u, v = factor @ torch.stack([angle.cos(), angle.sin()])
    both = ((u > 0) & (v > 0)).double()
    return float(2 * (u * v * both).mean()), float(both.mean())


def ntk(x: Tensor, z: Tensor, hidden: int, bias: bool) -> float:
    pair = torch.stack([x, z])
    covariance = pair @ pair.T / len(x)
    tangent = float(covariance[0, 1]) + bias
    for _ in range(hidden):
        product, gate = expectations(covariance)
        tangent = product + bias + tangent * gate
        covariance = torch.tensor(
            [[float(covariance[0, 0]) / 2, product], [product, float(covariance[1, 1]) / 2]], dtype=torch.float64
        )
    return tangent


def wide(inputs: Tensor, hidden: int, bias: bool, width: int, noise: torch.Generator) -> Tensor:
    """Return the kernel (B, B) of one network of a finite width, from its gradients one by one."""
    model = PublicMLP(
        shape=(1, 1, inputs.shape[1]), hidden=(width,) * hidden, bias=bias, parametrisation=Parametrisation.NTK
    )
    start = {
        name: torch.zeros(shape).double() if len(shape) == 1 else torch.randn(shape, generator=noise).double()
        for name, shape in model.shapes().items()
    }
    rows = [image[0] for image in jacobian(model, start, inputs)]
    return torch.tensor([[inner(left, right) for right in rows] for left in rows])
