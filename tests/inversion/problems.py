"""Gaussian attention problems whose answer is known."""

import torch
from torch import Tensor

from unmask.inversion.problem import AttentionProblem

F64 = torch.float64


def gaussian(
    d: int, n: int, seed: int, *, d_v: int | None = None, scores: float = 1.0
) -> tuple[AttentionProblem, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(d, n, generator=g, dtype=F64)
    w = torch.randn(d, d, generator=g, dtype=F64) * scores
    v = torch.randn(d, d_v or d, generator=g, dtype=F64)
    return AttentionProblem(W=w, V=v, B=torch.softmax(x.mT @ w @ x, -1) @ x.mT @ v), x


def elsewhere(d: int, n: int, seed: int, count: int = 3) -> Tensor:
    return torch.randn(count, d, n, generator=torch.Generator().manual_seed(1000 + seed), dtype=F64) / 2
