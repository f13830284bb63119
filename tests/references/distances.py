"""Gradient distances as loops over every number."""

import math


def l2(seen: list[list[float]], guess: list[list[float]], l1: float = 0.0) -> float:
    total = 0.0
    for a, b in zip(seen, guess, strict=True):
        for x, y in zip(a, b, strict=True):
            total += (x - y) ** 2 + l1 * abs(x - y)
    return total


def cosine(seen: list[list[float]], guess: list[list[float]]) -> float:
    parts = []
    for a, b in zip(seen, guess, strict=True):
        inner = sum(x * y for x, y in zip(a, b, strict=True))
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
        parts.append(1 - inner / norms)
    return sum(parts) / len(parts)
