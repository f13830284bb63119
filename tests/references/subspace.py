"""Span distances by explicit projection, one vector at a time."""

import numpy as np


def span_distance(vector: np.ndarray, basis: np.ndarray, weights: np.ndarray) -> float:
    projector = sum(w * np.outer(b, b) for w, b in zip(weights, basis.T, strict=True))
    return float(vector @ (np.eye(len(vector)) - projector) @ vector / (vector @ vector))


def chordal_distance(rows: np.ndarray, basis: np.ndarray) -> float:
    orthonormal, _ = np.linalg.qr(rows.T)
    cosines = np.linalg.svd(orthonormal.T @ basis, compute_uv=False)
    return float(1 - (cosines**2).sum() / max(orthonormal.shape[1], basis.shape[1]))


def unexplained(rows: np.ndarray, basis: np.ndarray, weights: np.ndarray) -> float:
    projector = rows.T @ np.linalg.inv(rows @ rows.T) @ rows
    lost = [w * (1 - b @ projector @ b) for w, b in zip(weights, basis.T, strict=True)]
    return float(sum(lost) / weights.sum())
