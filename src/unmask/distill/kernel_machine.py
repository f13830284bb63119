"""An infinitely wide network after training: a function, and what an adversary sees of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.distill.ntk import AnalyticNTK
from unmask.errors import BadInput


def gram(kernel: AnalyticNTK, inputs: Tensor) -> Tensor:
    """Return `k(x_i, x_j)` (N, N) with an exact diagonal; gradients flow to the inputs.

    Args:
        kernel: the kernel.
        inputs: (N, D).
    """
    norms = inputs.square().mean(1)
    # An input against itself stands at the kernel's kink, where the angle has no derivative.
    product = torch.diagonal_scatter(inputs @ inputs.T / inputs.shape[1], torch.zeros_like(norms))
    found = kernel.of_products(product, norms[:, None], norms[None])
    return torch.diagonal_scatter((found + found.T) / 2, kernel.of_self(inputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelMachine:
    """The function `sum_i duals_i k(x_i, z)`, what gradient descent on squared loss ends in at infinite width.

    Args:
        kernel: the tangent kernel.
        points: (N, D).
        duals: (N, C).
    """

    kernel: AnalyticNTK
    points: Tensor
    duals: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the change of the outputs (B, C) at inputs (B, D); gradients flow to the inputs."""
        return self.kernel(inputs, self.points) @ self.duals


def fit(kernel: AnalyticNTK, inputs: Tensor, wanted: Tensor, ridge: float = 0.0) -> KernelMachine:
    """Return the least function change that fits, `duals = (K + ridge tr(K) / N)^-1 y`.

    Args:
        kernel: the tangent kernel.
        inputs: (N, D).
        wanted: (N, C) targets, less the outputs before training.
        ridge: regulariser as a share of the kernel's mean diagonal.

    Raises:
        BadInput: if the kernel is singular, as it is where an image repeats.
    """
    matrix = gram(kernel, inputs)
    matrix = matrix + ridge * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)
    factor, wrong = torch.linalg.cholesky_ex(matrix)
    # A repeated image leaves a pivot of the size of the angle's rounding.
    if int(wrong) or float(factor.diagonal().min()) ** 2 < 1e-7 * float(matrix.diagonal().max()):
        raise BadInput("inputs", f"{len(inputs)} rows", "have a singular kernel", "drop images that repeat")
    return KernelMachine(kernel=kernel, points=inputs, duals=torch.cholesky_solve(wanted, factor))


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionObservation:
    """An infinitely wide network before and after training, as a function that can be evaluated anywhere.

    In the kernel limit the weight change is an element of the kernel's function space and is seen
    through `<change, grad f(z)>`, which is the change of the output at z. This is all that the
    published loss reads beside a constant: `|sum_j a_j k(z_j, .) - change|^2` has the terms
    `a^T K a - 2 sum_j a_j change(z_j)`.

    Args:
        change: inputs (B, D) to changes of the one output (B, 1), differentiable.
        kernel: the architecture.
        shape: channels, height and width of an image.
    """

    change: Callable[[Tensor], Tensor]
    kernel: AnalyticNTK
    shape: tuple[int, int, int]
