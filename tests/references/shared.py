"""Slow, obvious twins of the store's readings: one record after the other, in float64."""

import math

import torch
from torch import Tensor


def answers(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """Return what attention answers, query by query."""
    rows = []
    for query in queries:
        weights = [math.exp(float(query @ key) / math.sqrt(len(key))) for key in keys]
        rows.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return torch.stack([torch.as_tensor(row) for row in rows])


def sums(codes: Tensor, factors: Tensor) -> Tensor:
    """Return the sum of the records' outer products."""
    total = torch.zeros(codes.shape[1], factors.shape[1], dtype=torch.float64)
    for code, factor in zip(codes, factors, strict=True):
        total += torch.outer(code, factor)
    return total
