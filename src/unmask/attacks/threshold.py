"""Set the distance below which a vector counts as inside a span, from what was measured."""

import math

import torch
from torch import Tensor

from unmask.subspace import null_threshold

ROUNDING = 1e-11
"""Squared relative distance that float32 inputs keep from a span they lie in, at the least."""
FALLBACK = 0.01


def between(inside: Tensor, null: Tensor, tests: int) -> float:
    """Return the geometric mean of the largest true and the smallest false distance.

    Args:
        inside: distances of vectors known to lie in such a span, from a rehearsal on public text.
        null: distances of vectors known not to.
        tests: number of vectors that will be compared with the threshold.
    """
    low = max(float(inside.max()) if inside.numel() else 0.0, ROUNDING)
    finite = null[torch.isfinite(null)]
    # So many tests may ask for a quantile that the fitted tail puts at zero; then a hundredth of the
    # smallest false distance that was seen has to do.
    high = max(null_threshold(finite, tests=tests), FALLBACK * float(finite.min()), ROUNDING)
    return math.sqrt(low * high) if high > low else low
