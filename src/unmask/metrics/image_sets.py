"""Scores of recovered sets of images: who is whose reconstruction, how far, and how far chance gets.

Matching happens here, after an attack has ended, and only here: an attack never sees the images.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from unmask.errors import BadInput


def distances(secret: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return pixel L2 distances (N, M) of images (N, ...) and (M, ...).

    Args:
        secret: true images.
        found: recovered ones.

    Raises:
        BadInput: if the images differ in shape.
    """
    if secret.shape[1:] != found.shape[1:]:
        raise BadInput("found", found.shape[1:], "differs from the secret's shape", f"give {secret.shape[1:]}")
    left, right = secret.reshape(len(secret), -1).astype(float), found.reshape(len(found), -1).astype(float)
    # Differences, not the three products: those lose half the digits where the images are equal.
    return np.stack([np.sqrt(((right - row) ** 2).sum(1)) for row in left]) if len(left) else np.zeros((0, len(right)))


def cosines(secret: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return cosines (N, M) of images as vectors; zero with an image of zeros.

    Args:
        secret: true images, less an offset where the model subtracts one.
        found: recovered ones, less the same.
    """
    left, right = secret.reshape(len(secret), -1).astype(float), found.reshape(len(found), -1).astype(float)
    left = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-300)
    right = right / np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-300)
    return left @ right.T


def greedy(cost: np.ndarray) -> dict[int, int]:
    """Return pairs, taking the globally smallest cost again and again: the paper's matching.

    Args:
        cost: (N, M).
    """
    pairs: dict[int, int] = {}
    used: set[int] = set()
    for index in np.argsort(cost, axis=None, kind="stable"):
        i, j = divmod(int(index), cost.shape[1])
        if i not in pairs and j not in used:
            pairs[i] = j
            used.add(j)
    return pairs


def optimal(cost: np.ndarray) -> dict[int, int]:
    """Return the pairs of least total cost (Hungarian method).

    Args:
        cost: (N, M).
    """
    rows, columns = linear_sum_assignment(cost)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))


def curve(secret: np.ndarray, found: np.ndarray, *, hungarian: bool = False) -> np.ndarray:
    """Return the sorted L2 errors (N,) after one-to-one matching; infinite for an image without a partner.

    Args:
        secret: (N, ...) true images.
        found: (M, ...) recovered ones.
        hungarian: match optimally instead of greedily.

    Source: Loo et al., ICLR 2024, "reconstruction curve".
    """
    cost = distances(secret, found)
    pairs = optimal(cost) if hungarian else greedy(cost)
    return np.sort([cost[i, pairs[i]] if i in pairs else np.inf for i in range(len(secret))])


def share_similar(secret: np.ndarray, found: np.ndarray, threshold: float = 0.99) -> float:
    """Return the share of secrets whose partner, matched optimally, has at least this cosine.

    Args:
        secret: (N, ...) true images.
        found: (M, ...) recovered ones.
        threshold: least cosine.
    """
    if not len(found):
        return 0.0
    similar = cosines(secret, found)
    return sum(similar[i, j] >= threshold for i, j in optimal(-similar).items()) / len(secret)
