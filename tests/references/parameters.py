"""Gradients and trainings of a network in the long way: automatic differentiation, and many small steps."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unmask.weights import PublicMLP


def jacobian(model: PublicMLP, parameters: Mapping[str, Tensor], inputs: Tensor) -> list[list[dict[str, Tensor]]]:
    """Return for each image and each output the gradient by every parameter."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    found = []
    for x in inputs:
        outputs = model(leaves, x[None])[0]
        rows = [torch.autograd.grad(output, list(leaves.values()), retain_graph=True) for output in outputs]
        found.append([dict(zip(leaves, row, strict=True)) for row in rows])
    return found


def inner(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    return sum(float((left[name] * right[name]).sum()) for name in left)


def tangent_descent(
    model: PublicMLP, start: Mapping[str, Tensor], inputs: Tensor, wanted: Tensor, rate: float, steps: int
) -> dict[str, Tensor]:
    """Gradient descent on `sum_ic (f_c(x_i) + <grad f_c(x_i), change> - y_ic)^2 / 2` from change zero."""
    rows = [row for image in jacobian(model, start, inputs) for row in image]
    matrix = torch.stack([torch.cat([row[name].flatten() for name in start]) for row in rows])
    missing = (wanted - model(start, inputs)).flatten()
    change = torch.zeros(matrix.shape[1], dtype=matrix.dtype)
    for _ in range(steps):
        change = change - rate * matrix.T @ (matrix @ change - missing)
    parts = change.split([tensor.numel() for tensor in start.values()])
    return {
        name: tensor + part.reshape(tensor.shape) for (name, tensor), part in zip(start.items(), parts, strict=True)
    }
