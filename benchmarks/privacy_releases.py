"""The error of every release at equal (epsilon, delta, unit), for stores and sequences of 64 to 100,000."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.privacy_accounting import row
from benchmarks.rows import RESULTS, Row
from unmask.privacy import gaussian
from unmask.privacy.mechanisms.attention_release import AttentionRelease
from unmask.privacy.mechanisms.linear_state import LinearState
from unmask.privacy.mechanisms.noisy_read import NoisyRead, Store
from unmask.privacy.mechanisms.token_noise import TokenNoise
from unmask.privacy.noise import GaussianNoise, clip_rows
from unmask.privacy.sampling import Randomness
from unmask.privacy.softmax import attention

Array = NDArray[np.float64]
EPSILON, DELTA = 1.0, 1e-6  # below 1/N for every N here
SIZES = (64, 256, 1000, 4000, 10_000, 30_000, 100_000)
KEYS, VALUES, QUERIES, REPEATS = 16, 64, 100, 3
DRAWS = (1, 4, 16, 64)
LOG = RESULTS / "privacy-releases.json"
FIGURE = Path(__file__).parents[1] / "docs" / "guarantees" / "releases.svg"
PUBLISHED = "published attention release"
RECOMMENDED = ("noisy read, 100 queries", "linear state, any number of queries")
MEAN = "noisy mean, no attention"
BLIND = "answer without data (zero)"


def records(n: int, seed: int) -> tuple[Store, Array]:
    """Return a store of eight clusters with unit keys and values, and queries near the clusters."""
    rng = np.random.default_rng(seed)
    centres, means = rng.normal(size=(8, KEYS)), rng.normal(size=(8, VALUES)) + 1.2 * rng.normal(size=VALUES)
    which = rng.integers(0, 8, n)
    keys = _unit(_unit(centres)[which] + 0.15 * rng.normal(size=(n, KEYS)))
    values = _unit(_unit(means)[which] + 0.08 * rng.normal(size=(n, VALUES)))
    asked = _unit(_unit(centres)[rng.integers(0, 8, QUERIES)] + 0.15 * rng.normal(size=(QUERIES, KEYS)))
    return Store(keys=keys, values=values), asked


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def _soft_read(scores: Array, values: Array) -> Array:
    return attention(np.clip(scores, -1, 1)) @ values


def noisy_read(store: Store, queries: Array, source: Randomness, asked: int) -> Array:
    """Every answer has its share of the budget of `asked` queries."""
    mechanism = NoisyRead(epsilon=EPSILON, delta=DELTA, queries=asked, score_bound=1.0, value_norm=1.0)
    if asked >= len(queries):
        return mechanism.release(store, source, queries=queries).value
    # One query alone, measured on each of the queries as if it were the only one.
    return np.concatenate([mechanism.release(store, source, queries=q[None]).value for q in queries[:20]])


def linear_state(store: Store, queries: Array, source: Randomness) -> Array:
    """One release; any number of queries."""
    mechanism = LinearState(epsilon=EPSILON, delta=DELTA, width=KEYS, features=256, key_norm=1.0, value_norm=1.0)
    return mechanism.release(store, source).value.read(queries)


def token_noise(store: Store, queries: Array, source: Randomness) -> Array:
    """Keys and values as one row of norm sqrt 2; any number of queries."""
    mechanism = TokenNoise(epsilon=EPSILON, delta=DELTA, norm=math.sqrt(2))
    noisy = mechanism.release(np.concatenate([store.keys, store.values], 1), source).value
    return _soft_read(queries @ noisy[:, :KEYS].T, noisy[:, KEYS:])


def _noisy_outputs(scores: Array, values: Array, source: Randomness) -> Array:
    """Apply scores that are private already to private values, with half the budget for the outputs.

    Given the weights, replacing value i moves all outputs by `||weights[:, i]|| ||v - v'||`.
    """
    weights = attention(np.clip(scores, -1, 1))
    moved = 2 * float(np.linalg.norm(weights, axis=0).max())
    noise = GaussianNoise(epsilon=EPSILON / 2, delta=DELTA / 2, sensitivity=moved)
    return noise.add(weights @ values, source)


def noisy_keys(store: Store, queries: Array, source: Randomness) -> Array:
    """Keys by token noise, then the outputs of these queries by noise."""
    keys = TokenNoise(epsilon=EPSILON / 2, delta=DELTA / 2, norm=1.0).release(store.keys, source).value
    return _noisy_outputs(queries @ keys.T, store.values, source)


def published(store: Store, queries: Array, source: Randomness, draws: int) -> Array:
    """The Gram matrix of public queries and private keys by the published release, then the outputs by noise."""
    mechanism = AttentionRelease.calibrated(epsilon=EPSILON / 2, delta=DELTA / 2, radius=2.0, draws=draws)
    both = np.concatenate([queries, store.keys])
    scores = mechanism.release(both, source, rows=len(queries)).value[:, len(queries) :]
    return _noisy_outputs(scores, store.values, source)


def noisy_mean(store: Store, queries: Array, source: Randomness) -> Array:
    """The mean of all values with noise, whatever was asked: no attention at all."""
    noise = GaussianNoise(epsilon=EPSILON, delta=DELTA, sensitivity=2 / len(store.values))
    return np.broadcast_to(noise.add(store.values.mean(0), source), (len(queries), VALUES))


def reads(n: int) -> dict[str, float]:
    """Return the mean L2 error of an answer by each release, and what is known without data."""
    ways: dict[str, Callable[[Store, Array, Randomness], Array]] = {
        "noisy read, 1 query": lambda s, q, r: noisy_read(s, q, r, 1),
        "noisy read, 100 queries": lambda s, q, r: noisy_read(s, q, r, QUERIES),
        "linear state, any number of queries": linear_state,
        "token noise, any number of queries": token_noise,
        "token noise on keys and noise on outputs, 100 queries": noisy_keys,
        MEAN: noisy_mean,
    }
    for draws in DRAWS:
        ways[f"{PUBLISHED}, k = {draws}"] = lambda s, q, r, k=draws: published(s, q, r, k)
    errors: dict[str, list[float]] = {}
    for seed in range(REPEATS):
        store, queries = records(n, seed)
        exact = _soft_read(queries @ store.keys.T, store.values)
        errors.setdefault(BLIND, []).append(float(np.linalg.norm(exact, axis=1).mean()))
        for name, way in ways.items():
            answer = way(store, queries, Randomness(seed=1000 + seed))
            gap = np.linalg.norm(answer - exact[: len(answer)], axis=1).mean()
            errors.setdefault(name, []).append(float(gap))
    found = {name: float(np.mean(values)) for name, values in errors.items()}
    best = min((name for name in found if name.startswith(PUBLISHED)), key=lambda name: found[name])
    kept = {name: value for name, value in found.items() if not name.startswith(PUBLISHED)}
    return {**kept, f"{PUBLISHED}, best k, and noise on outputs, 100 queries": found[best]}


def read_rows() -> list[Row]:
    """Error of one answer over a shared store; unit: one record, any other in its place."""
    rows, table = [], {}
    for n in SIZES:
        began = time.perf_counter()
        found = reads(n)
        table[n] = found
        print(n, {name: round(value, 4) for name, value in found.items()}, flush=True)
        best = min(found, key=lambda name: found[name] if "1 query" not in name else math.inf)
        place = sorted(found, key=lambda name: found[name]).index(next(n for n in found if n.startswith(PUBLISHED)))
        text = "; ".join(f"{name}: {value:.3g}" for name, value in found.items())
        rows.append(
            row(
                f"Attention read over {n:,} records, one record replaced, epsilon 1, delta 1e-6: error of an answer",
                "noisy read or linear state is the best for 100 queries, or nothing beats answers without attention",
                f"best for 100 queries: {best} ({found[best]:.3g}); the published release is number {place + 1} of "
                f"{len(found)}; {text}",
                best in (*RECOMMENDED, MEAN, BLIND),
                REPEATS,
                time.perf_counter() - began,
                control=f"{found[MEAN]:.3g} by a noisy mean, {found[BLIND]:.3g} without data",
            )
        )
    _draw(table)
    LOG.write_text(json.dumps({str(n): found for n, found in table.items()}, indent=2) + "\n", encoding="utf-8")
    return rows


def _draw(table: dict[int, dict[str, float]]) -> None:
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.6))
    for name in next(iter(table.values())):
        style = "--" if name == BLIND else "-"
        axes.loglog(list(table), [found[name] for found in table.values()], style, marker="o", ms=3, label=name)
    axes.set_xlabel("records in the store")
    axes.set_ylabel("mean L2 error of an answer")
    axes.set_title("Equal privacy: epsilon 1, delta 1e-6, one record replaced", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize=7, loc="lower left")
    figure.tight_layout()
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)


def matrix_rows(sharpness: float = 8.0, rows_shown: int = 32) -> list[Row]:
    """Error of a released attention matrix; unit: one token, moved by at most beta."""
    rows = []
    for n in (64, 1000, 10_000, 100_000):
        rng = np.random.default_rng(n)
        store, _ = records(n, n)
        x, top = store.keys, store.keys[:rows_shown]
        gram = top @ x.T
        exact = attention(sharpness * gram)
        blind = _total_variation(np.full_like(exact, 1 / n), exact)
        for beta in (2.0, 0.1):
            began, source = time.perf_counter(), Randomness(seed=n)
            sigma = gaussian.calibrate(EPSILON, DELTA, beta * math.sqrt(2 * n))
            noisy = TokenNoise(epsilon=EPSILON, delta=DELTA, norm=1.0, radius=beta).release(x, source).value
            found = {
                "Gaussian on the tokens": clip_rows(noisy, 1.0)[:rows_shown] @ clip_rows(noisy, 1.0).T,
                "Gaussian on the Gram matrix": gram + sigma * rng.normal(size=gram.shape),
            }
            for k in (*DRAWS, 256) if n <= 10_000 else DRAWS:
                mechanism = AttentionRelease.calibrated(epsilon=EPSILON, delta=DELTA, radius=beta, draws=k)
                found[f"{PUBLISHED}, k = {k}"] = mechanism.release(x, source, rows=rows_shown).value
            errors = {
                name: _total_variation(attention(sharpness * np.clip(estimate, -1, 1)), exact)
                for name, estimate in found.items()
            }
            theirs = min(value for name, value in errors.items() if name.startswith(PUBLISHED))
            ours = errors["Gaussian on the tokens"]
            useful = min(theirs, ours) < blind
            text = "; ".join(f"{name}: {value:.3g}" for name, value in errors.items())
            print(n, beta, text, "uniform", round(blind, 3), flush=True)
            rows.append(
                row(
                    f"Attention matrix of {n:,} tokens, one token moved by {beta:g}, epsilon 1, delta 1e-6: "
                    "total variation of a row",
                    "token noise beats the published release at its best k, or nothing beats uniform rows",
                    f"token noise {ours:.3g}, published {theirs:.3g}; {text}",
                    ours < theirs or not useful,
                    rows_shown,
                    time.perf_counter() - began,
                    control=f"uniform rows {blind:.3g}",
                )
            )
    return rows


def _total_variation(first: Array, second: Array) -> float:
    return float(0.5 * np.abs(first - second).sum(-1).mean())
