"""From an error of the scores to an error of the attention matrix: tight bounds."""

import math

import numpy as np
from numpy.typing import NDArray

from unmask.privacy.checks import positive, probability

Array = NDArray[np.float64]


def attention(scores: Array) -> Array:
    """Return the softmax of the last axis, (..., n, n) to (..., n, n)."""
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    result: Array = shifted / shifted.sum(-1, keepdims=True)
    return result


def perturbation(radius: float) -> float:
    """Return how far a softmax moves when each of its scores moves by at most r: `tanh(r/2)`.

    It bounds every entry and the total variation of the whole row, and both are attained: the log-odds
    of any set of columns move by at most 2r, and `sigma(x + r) - sigma(x - r)` is largest at x = 0,
    where it is `tanh(r/2)`.

    Args:
        radius: r >= 0.

    Example:
        >>> round(perturbation(0.1), 6)
        0.049958
    """
    return math.tanh(radius / 2)


def entry_error(spectral: float, diagonal: Array) -> Array:
    """Return the bound `rho sqrt(A_ii A_jj)` on the entries of an error E with `-rho A <= E <= rho A`.

    Cauchy-Schwarz in the norm of A: `|e_i^T E e_j| <= rho ||A^1/2 e_i|| ||A^1/2 e_j||`.

    Args:
        spectral: rho, the relative spectral error.
        diagonal: (n,) of A; with a ridge, of A + eta I.
    """
    root = np.sqrt(np.asarray(diagonal, dtype=np.float64))
    result: Array = spectral * np.outer(root, root)
    return result


def concentration(size: int, draws: int, gamma: float | None = None) -> float:
    """Return rho such that a sample covariance of k draws is within `(1 +- rho) Sigma`.

    All singular values of a k x n standard normal matrix lie in `sqrt(k) +- (sqrt(n) + sqrt(2 ln(2/gamma)))`
    with probability 1 - gamma (Davidson and Szarek 2001), so `rho = 2u + u^2`, u = sqrt(n/k) + sqrt(2 ln(2/gamma)/k).
    The n^2 of the published bound belongs to the Frobenius norm; the spectral norm needs n.

    Args:
        size: n.
        draws: k.
        gamma: failure probability; None leaves its term out and gives the typical value.
    """
    slack = 0.0 if gamma is None else math.sqrt(2 * math.log(2 / probability("gamma", gamma)) / draws)
    u = math.sqrt(size / draws) + slack
    return 2 * u + u * u


def draws_for(size: int, spectral: float, gamma: float | None = None) -> int:
    """Return how many draws give a relative spectral error of `spectral`: the inverse of `concentration`.

    Args:
        size: n.
        spectral: rho.
        gamma: as in `concentration`.
    """
    u = math.sqrt(1 + positive("spectral", spectral)) - 1
    root = math.sqrt(size) + (0.0 if gamma is None else math.sqrt(2 * math.log(2 / probability("gamma", gamma))))
    return math.ceil((root / u) ** 2)
