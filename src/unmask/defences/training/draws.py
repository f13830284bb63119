"""Who takes part in a step: each example by a coin of its own."""

import numpy as np

from unmask.privacy.sampling import Randomness


def poisson(count: int, rate: float, randomness: Randomness) -> list[int]:
    """Return the indices that were drawn, each below `count` with chance `rate`, independently; maybe none.

    Args:
        count: how many there are.
        rate: the chance of each.
        randomness: source of the draws.
    """
    return [int(i) for i in np.flatnonzero(randomness.uniform((count,)) < rate)]
