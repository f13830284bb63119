"""Slow, obvious twins of the closed forms for activations, in float64."""

import torch
from torch import Tensor

from unmask.public import InputTable


def nearest_rows(
    table: InputTable, weight: Tensor, bias: Tensor, rows: Tensor, positions: list[int], allowed: Tensor
) -> tuple[Tensor, Tensor]:
    """Compare every row with every token at every position, one by one."""
    tokens = torch.zeros(len(rows), len(positions), dtype=torch.long)
    distances = torch.zeros(len(rows), len(positions), dtype=torch.float64)
    for r, row in enumerate(rows.double()):
        for p, position in enumerate(positions):
            every = table.rows(allowed, torch.tensor(position)).double() @ weight.double().T + bias.double()
            away = (every - row).square().sum(1) / row.square().sum()
            tokens[r, p], distances[r, p] = allowed[away.argmin()], away.min()
    return tokens, distances


def predicted_responses(features: Tensor, tokens: Tensor, responses: Tensor, ridge: float) -> Tensor:
    """Fit a linear map with an intercept from features to responses and apply it to every token, in the primal."""
    tried = features[tokens].double()
    x = tried - tried.mean(0)
    y = responses.double() - responses.double().mean(0)
    gram = x @ x.T
    strength = ridge * gram.diagonal().mean()
    weights = torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)
    return (features.double() - tried.mean(0)) @ weights + responses.double().mean(0)
