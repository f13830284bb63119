"""Which neurons an ordinary training ever opened for an image, one step after the other."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unmask.weights import PublicMLP


def trained(
    model: PublicMLP, start: Mapping[str, Tensor], inputs: Tensor, wanted: Tensor, rate: float, steps: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Return weights after plain gradient descent by automatic differentiation, and (K, N) ever open."""
    weights = {name: tensor.clone() for name, tensor in start.items()}
    opened = torch.zeros(model.hidden[0], len(inputs), dtype=torch.bool)
    for _ in range(steps):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
        opened |= (leaves["layer.0.weight"] @ inputs.T * model.scale(0) + leaves["layer.0.bias"][:, None]) > 0
        loss = (model(leaves, inputs) - wanted).square().sum(1).mean() / 2
        for name, grad in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            weights[name] = weights[name] - rate * grad
    return weights, opened
