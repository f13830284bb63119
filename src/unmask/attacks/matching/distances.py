"""How far one gradient is from another, as the gradient-matching literature measures it."""

from collections.abc import Mapping
from enum import StrEnum

import torch
from torch import Tensor


class Distance(StrEnum):
    """Distances between two sets of tensors `g_k` (seen) and `h_k` (guess)."""

    L2 = "l2"
    """`sum_k ||g_k - h_k||_2^2` (Zhu et al. 2019, DLG)."""
    L2_L1 = "l2+l1"
    """`sum_k ||g_k - h_k||_2^2 + a ||g_k - h_k||_1` (Deng et al. 2021, TAG)."""
    COSINE = "cosine"
    """`mean_k (1 - <g_k, h_k> / (||g_k|| ||h_k||))` (Balunovic et al. 2022, LAMP; Li et al. 2024)."""


def distance(kind: Distance, seen: Mapping[str, Tensor], guess: Mapping[str, Tensor], *, l1: float = 0.0) -> Tensor:
    """Return the distance (C,) of each candidate's gradient from the one seen.

    Args:
        kind: which formula.
        seen: tensors (*shape) by name.
        guess: tensors (C, *shape) with the same names; every tensor has equal weight.
        l1: the factor a of `Distance.L2_L1`.
    """
    parts = [_one(kind, seen[name].flatten(), found.flatten(1), l1) for name, found in guess.items()]
    stacked = torch.stack(parts)
    return stacked.mean(0) if kind is Distance.COSINE else stacked.sum(0)


def _one(kind: Distance, seen: Tensor, guess: Tensor, l1: float) -> Tensor:
    if kind is Distance.COSINE:
        # A gradient that vanishes has no direction; it counts as orthogonal.
        norms = seen.norm() * guess.norm(dim=1)
        return 1 - (guess @ seen) / norms.clamp_min(torch.finfo(guess.dtype).tiny)
    gap = guess - seen
    squared = gap.square().sum(1)
    return squared + l1 * gap.abs().sum(1) if kind is Distance.L2_L1 else squared
