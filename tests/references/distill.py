"""Slow twins of the distillation losses: gradients of all parameters, one by one, as vectors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tests.references.parameters import jacobian
from unmask.weights import PublicMLP


def gradients(model: PublicMLP, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Return (B, P) gradients of the one output by all parameters."""
    found = [image[0] for image in jacobian(model, weights, inputs)]
    return torch.stack([torch.cat([each.flatten() for each in row.values()]) for row in found])


def change(start: Mapping[str, Tensor], final: Mapping[str, Tensor]) -> Tensor:
    """Return (P,) what training added."""
    return torch.cat([(final[name] - start[name]).flatten() for name in start])


def reconstruction(delta: Tensor, rows: Tensor, duals: Tensor) -> float:
    """Return `|delta - sum_j duals_j rows_j|^2`."""
    left = delta.clone()
    for dual, row in zip(duals, rows, strict=True):
        left = left - dual * row
    return float(left @ left)
