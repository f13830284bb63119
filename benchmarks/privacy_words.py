"""What epsilon says in words against the best attacker on the worst mechanism that it allows."""

import time

import numpy as np

from benchmarks.privacy_accounting import row
from benchmarks.rows import Row
from tests.references.best_attacker import told_one_of_many, told_one_of_two
from unmask.privacy import audit
from unmask.privacy.tradeoff import advantage, approximate, success

EPSILONS, DELTA, TRIALS, COUNT = (0.1, 0.5, 1.0, 2.0, 3.0, 8.0), 1e-5, 1_000_000, 100
WRONG = 1e-3
"""Chance with which one interval is wrong."""


def rows() -> list[Row]:
    """Return two rows an epsilon: one of two inputs named, and one of a hundred values guessed."""
    found, rng = [], np.random.default_rng(20)
    for epsilon in EPSILONS:
        began = time.perf_counter()
        bound = (1 + advantage(epsilon, DELTA)) / 2
        won = told_one_of_two(epsilon, DELTA, TRIALS, rng)
        low, high = audit.clopper_pearson(round(won * TRIALS), TRIALS, WRONG)
        found.append(
            row(
                f"Epsilon in words, epsilon {epsilon:g}, delta 1e-5: one of two inputs named by the best attacker",
                "the stated share inside the 99.8% interval",
                f"{won:.4f} (stated {bound:.4f})",
                bool(low <= bound <= high),
                TRIALS,
                time.perf_counter() - began,
                control="blind guess 0.5",
            )
        )
        began = time.perf_counter()
        bound = success(1 / COUNT, approximate(epsilon, DELTA))
        won = told_one_of_many(epsilon, DELTA, COUNT, TRIALS, rng)
        low, _ = audit.clopper_pearson(round(won * TRIALS), TRIALS, WRONG)
        found.append(
            row(
                f"Epsilon in words, epsilon {epsilon:g}, delta 1e-5: one of {COUNT} values guessed by the best "
                "attacker on randomised response",
                "not above what is stated",
                f"{won:.4f} (stated at most {bound:.4f})",
                bool(low <= bound),
                TRIALS,
                time.perf_counter() - began,
                control=f"blind guess {1 / COUNT:g}",
            )
        )
    return found
