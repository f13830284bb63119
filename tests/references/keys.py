"""Regression of flows on keys, one head and one sum at a time."""

import numpy as np


def left(keys: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the share (T,) of flows (heads, T, h) that keys (heads, n, h) leave."""
    found = np.zeros(flow.shape[1])
    for t in range(flow.shape[1]):
        for head in range(len(keys)):
            solution = np.linalg.lstsq(keys[head].T, flow[head, t], rcond=None)[0]
            found[t] += sum((keys[head].T @ solution - flow[head, t]) ** 2)
    return found


def sparsest(
    keys: np.ndarray,
    seen: np.ndarray,
    flow: np.ndarray,
    start: np.ndarray,
    steps: int,
    power: float,
    smallest: float,
) -> np.ndarray:
    """Return the weights (N,) of the group-sparse combination of keys (heads, N, h) for flows (heads, M, h).

    `seen` (heads, M, N) scales the keys for each flow.
    """
    weights = start.copy()
    for step in range(steps):
        energy = np.zeros(len(weights))
        for head in range(len(keys)):
            for f, attention in zip(flow[head], seen[head], strict=True):
                scaled = keys[head] * attention[:, None]
                moment = sum(w * np.outer(k, k) for w, k in zip(weights, scaled, strict=True))
                ridge = max(1e-2 * 0.3**step, smallest) * np.trace(moment) / len(moment)
                own = (weights * (scaled @ np.linalg.inv(moment + ridge * np.eye(len(moment))) @ f)) ** 2
                energy += own / own.max()
        weights = np.maximum(energy / energy.max(), 1e-14) ** power
    return weights
