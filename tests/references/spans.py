"""Distances of tokens and sentences from a span, one vector at a time."""

import math

import numpy as np


def normalised(raw: np.ndarray, weight: np.ndarray, bias: np.ndarray, epsilon: float, centred: bool) -> np.ndarray:
    mean = sum(raw) / len(raw) if centred else 0.0
    deviation = math.sqrt(sum((x - mean) ** 2 for x in raw) / len(raw) + epsilon)
    return np.array([(x - mean) / deviation * w + b for x, w, b in zip(raw, weight, bias, strict=True)])


def vocabulary_distance(
    token: np.ndarray,
    position: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    epsilon: float,
    centred: bool,
    basis: np.ndarray,
    reference: np.ndarray,
) -> float:
    x = normalised(token + position, weight, bias, epsilon, centred) - reference
    rest = x.copy()
    for direction in basis.T:
        rest = rest - (direction @ x) * direction
    return float(rest @ rest / (x @ x))


def captured(rows: np.ndarray, bases: np.ndarray) -> float:
    """`sum_h ||Q_h^T B_h||_F^2` for rows (H, n, d) with orthonormal bases Q_h of their spans, and bases (H, d, r)."""
    return float(sum(((np.linalg.qr(z.T)[0].T @ b) ** 2).sum() for z, b in zip(rows, bases, strict=True)))
