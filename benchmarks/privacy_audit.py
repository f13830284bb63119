"""The rows of the audits: correct mechanisms twenty times, broken ones once, and the one-run canaries."""

import time

import numpy as np

from benchmarks.privacy_accounting import row
from benchmarks.privacy_games import DELTA, EPSILON, bound, games
from benchmarks.rows import Row
from unmask.privacy import gaussian
from unmask.privacy.one_run import OneRun, one_run
from unmask.privacy.sampling import Randomness

AUDITS, CANARIES = 20, 2000


def rows() -> list[Row]:
    """Every correct mechanism passes every audit, every broken one is caught."""
    found = []
    for game in games():
        began = time.perf_counter()
        bounds = [bound(game.correct, game.trials, seed) for seed in range(AUDITS)]
        passed = sum(b.value <= EPSILON for b in bounds)
        found.append(
            row(
                f"Audit of {game.name}, epsilon 1, delta 1e-5, correct",
                f"{AUDITS} of {AUDITS} pass",
                f"{passed} of {AUDITS} pass, largest lower bound {max(b.value for b in bounds):.3f}",
                passed == AUDITS,
                2 * game.trials,
                time.perf_counter() - began,
                control=f"could have shown {bounds[0].cap:.2f}",
            )
        )
        for how, play in game.broken.items():
            began = time.perf_counter()
            b = bound(play, game.trials, 99)
            found.append(
                row(
                    f"Audit of {game.name}, epsilon 1, delta 1e-5, broken: {how}",
                    "> 1 (caught)",
                    round(b.value, 3),
                    b.value > EPSILON,
                    2 * game.trials,
                    time.perf_counter() - began,
                    control=f"could have shown {b.cap:.2f}",
                )
            )
        print(game.name, [round(b.value, 3) for b in bounds], flush=True)
    return [*found, *canary_rows()]


def canaries(sigma: float, seed: int) -> OneRun:
    """One noisy sum of canaries that are orthogonal unit vectors, each in by a coin."""
    coins = np.random.default_rng(seed).random(CANARIES) < 0.5
    scores = coins + sigma * Randomness(seed=1000 + seed).normal((CANARIES,))
    return one_run([f"canary{i}" for i in range(CANARIES)], scores, coins, delta=DELTA, guesses=CANARIES // 10)


def canary_rows() -> list[Row]:
    """One run with many canaries, on a correct and on a broken Gaussian sum."""
    sigma, rows = gaussian.calibrate(EPSILON, DELTA), []
    for name, used, broken in (("correct", sigma, False), ("noise a fifth", sigma / 5, True)):
        began = time.perf_counter()
        runs = [canaries(used, seed) for seed in range(AUDITS)]
        over = sum(r.epsilon > EPSILON for r in runs)
        rows.append(
            row(
                f"One-run audit of a Gaussian sum, {CANARIES} canaries, epsilon 1, delta 1e-5, "
                f"{'broken: ' if broken else ''}{name}",
                f"{AUDITS} of {AUDITS} caught" if broken else f"{AUDITS} of {AUDITS} pass",
                f"{over if broken else AUDITS - over} of {AUDITS}, lower bounds {min(r.epsilon for r in runs):.2f} to "
                f"{max(r.epsilon for r in runs):.2f}",
                over == (AUDITS if broken else 0),
                CANARIES,
                time.perf_counter() - began,
                control=f"cap of {runs[0].guesses} guesses {runs[0].cap:.2f}",
            )
        )
    return rows
