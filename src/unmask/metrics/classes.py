"""How well classes are told apart: accuracy and Matthews' correlation."""

from collections.abc import Sequence

import numpy as np


def accuracy(truth: Sequence[int], guess: Sequence[int]) -> float:
    """Return the share of classes that were named rightly.

    Args:
        truth: class indices.
        guess: as many class indices.

    Example:
        >>> accuracy([0, 1, 1], [0, 1, 0])
        0.6666666666666666
    """
    return float(np.mean(np.asarray(truth) == np.asarray(guess)))


def matthews(truth: Sequence[int], guess: Sequence[int]) -> float:
    """Return Matthews' correlation of classes (Gorodkin 2004 for more than two), in [-1, 1].

    With c right of s, `t_k` of class k and `p_k` named k:
    `(c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2))`; 0 where one class alone occurs or is named.

    Args:
        truth: class indices.
        guess: as many class indices.

    Example:
        >>> matthews([0, 0, 1, 1], [0, 0, 1, 1]), matthews([0, 0, 1, 1], [1, 1, 1, 1])
        (1.0, 0.0)
    """
    right = float(np.sum(np.asarray(truth) == np.asarray(guess)))
    size, classes = len(truth), 1 + max(*truth, *guess)
    true, named = (np.bincount(np.asarray(row), minlength=classes).astype(float) for row in (truth, guess))
    below = (size**2 - float(named @ named)) * (size**2 - float(true @ true))
    return (right * size - float(named @ true)) / below**0.5 if below > 0 else 0.0
