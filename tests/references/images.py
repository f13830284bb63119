"""Image metrics, slow and obvious: every window and every matching by itself."""

import itertools
import math

import numpy as np


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity, window by window, channel by channel."""
    offsets = [i - 5 for i in range(11)]
    bell = [math.exp(-(i * i) / (2 * 1.5**2)) for i in offsets]
    total = sum(bell)
    values = []
    for channel in range(a.shape[0]):
        for y in range(5, a.shape[1] - 5):
            for x in range(5, a.shape[2] - 5):
                ma = mb = aa = bb = ab = 0.0
                for i, dy in enumerate(offsets):
                    for j, dx in enumerate(offsets):
                        weight = bell[i] * bell[j] / total**2
                        p, q = float(a[channel, y + dy, x + dx]), float(b[channel, y + dy, x + dx])
                        ma, mb = ma + weight * p, mb + weight * q
                        aa, bb, ab = aa + weight * p * p, bb + weight * q * q, ab + weight * p * q
                va, vb, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
                top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
                values.append(top / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4)))
    return sum(values) / len(values)


def best_matching(secret: list[np.ndarray], guess: list[np.ndarray]) -> float:
    """Smallest sum of mean squared differences over all ways to match guesses to secrets."""
    count = len(secret)
    costs = [[float(((a - b) ** 2).mean()) for b in guess] for a in secret]
    return min(sum(costs[i][j] for i, j in enumerate(p)) for p in itertools.permutations(range(len(guess)), count))
