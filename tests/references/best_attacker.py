"""The worst mechanism that a claim allows, and the attacker that gets most out of it."""

import math

import numpy as np


def told_one_of_two(epsilon: float, delta: float, trials: int, rng: np.random.Generator) -> float:
    """Return how often the best attacker names one of two inputs, where the mechanism spends all of (epsilon, delta).

    With chance delta the input itself is released; else the truth with chance `e^eps / (1 + e^eps)`, the other input
    with the rest (Kairouz, Oh and Viswanath 2015: every mechanism of this claim is a blurred one of it).
    """
    truth = rng.random(trials) < 0.5
    told = (rng.random(trials) < delta) | (rng.random(trials) < 1 / (1 + math.exp(-epsilon)))
    guess = np.where(told, truth, ~truth)
    return float((guess == truth).mean())


def told_one_of_many(epsilon: float, delta: float, count: int, trials: int, rng: np.random.Generator) -> float:
    """Return how often the best attacker names one of `count` equally likely values that are all neighbours.

    With chance delta the value itself is released; else the truth with chance `e^eps / (e^eps + count - 1)`, and every
    other value alike.
    """
    truth = rng.integers(count, size=trials)
    told = (rng.random(trials) < delta) | (rng.random(trials) < 1 / (1 + (count - 1) * math.exp(-epsilon)))
    lie = (truth + rng.integers(1, count, size=trials)) % count
    guess = np.where(told, truth, lie)
    return float((guess == truth).mean())
