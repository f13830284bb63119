"""The error of every release at equal (epsilon, delta, unit), for stores and sequences of 64 to 100,000."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.privacy_accounting import row
from benchmarks.privacy_figure import draw
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
BOUNDS = (1.0, 3.0)
SIZES = (64, 256, 1000, 4000, 10_000, 30_000, 100_000)
KEYS, VALUES, QUERIES, REPEATS = 16, 64, 100, 3
FEATURES = 512
DRAWS = (1, 4, 16, 64)
LOG = RESULTS / "privacy-releases.json"
PUBLISHED = "published attention release"
RECOMMENDED = ("noisy read, 100 queries", "linear state, any number of queries")
MEAN = "noisy mean, no attention"
BLIND = "answer without data (zero)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Queries over a store; keys and queries have the norm sqrt(c), so that scores lie within c.

    Args:
        store: n records.
        queries: public.
        bound: c.
    """

    store: Store
    queries: Array
    bound: float

    @property
    def exact(self) -> Array:
        """The answers without noise."""
        return self.read(self.queries @ self.store.keys.T, self.store.values)

    def read(self, scores: Array, values: Array) -> Array:
        """Return softmax attention with scores clipped to what is possible."""
        return attention(np.clip(scores, -self.bound, self.bound)) @ values


def task(n: int, bound: float, seed: int) -> Task:
    """Return a store of eight clusters with values of norm 1, and queries near the clusters."""
    rng = np.random.default_rng(seed)
    centres, means = rng.normal(size=(8, KEYS)), rng.normal(size=(8, VALUES))
    which = rng.integers(0, 8, n)
    keys = _unit(_unit(centres)[which] + 0.15 * rng.normal(size=(n, KEYS)))
    values = _unit(_unit(means)[which] + 0.08 * rng.normal(size=(n, VALUES)))
    asked = _unit(_unit(centres)[rng.integers(0, 8, QUERIES)] + 0.15 * rng.normal(size=(QUERIES, KEYS)))
    root = math.sqrt(bound)
    return Task(store=Store(keys=root * keys, values=values), queries=root * asked, bound=bound)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def noisy_read(t: Task, source: Randomness, asked: int) -> Array:
    """Every answer has its share of the budget of `asked` queries."""
    mechanism = NoisyRead(epsilon=EPSILON, delta=DELTA, queries=asked, score_bound=t.bound, value_norm=1.0)
    if asked >= len(t.queries):
        return mechanism.release(t.store, source, queries=t.queries).value
    # One query alone, measured on each of the queries as if it were the only one.
    return np.concatenate([mechanism.release(t.store, source, queries=q[None]).value for q in t.queries[:20]])


def linear_state(t: Task, source: Randomness) -> Array:
    """One release; any number of queries."""
    mechanism = LinearState(
        epsilon=EPSILON, delta=DELTA, width=KEYS, features=FEATURES, key_norm=math.sqrt(t.bound), value_norm=1.0
    )
    return mechanism.release(t.store, source).value.read(t.queries)


def token_noise(t: Task, source: Randomness) -> Array:
    """Keys and values as one row of norm sqrt(c + 1); any number of queries."""
    mechanism = TokenNoise(epsilon=EPSILON, delta=DELTA, norm=math.sqrt(t.bound + 1))
    noisy = mechanism.release(np.concatenate([t.store.keys, t.store.values], 1), source).value
    return t.read(t.queries @ noisy[:, :KEYS].T, noisy[:, KEYS:])


def _noisy_outputs(t: Task, scores: Array, source: Randomness) -> Array:
    """Apply scores that are private already to private values, with half the budget for the outputs.

    Given the weights, replacing value i moves all outputs by `||weights[:, i]|| ||v - v'||`.
    """
    weights = attention(np.clip(scores, -t.bound, t.bound))
    moved = 2 * float(np.linalg.norm(weights, axis=0).max())
    noise = GaussianNoise(epsilon=EPSILON / 2, delta=DELTA / 2, sensitivity=moved)
    return noise.add(weights @ t.store.values, source)


def noisy_keys(t: Task, source: Randomness) -> Array:
    """Keys by token noise, then the outputs of these queries by noise."""
    mechanism = TokenNoise(epsilon=EPSILON / 2, delta=DELTA / 2, norm=math.sqrt(t.bound))
    return _noisy_outputs(t, t.queries @ mechanism.release(t.store.keys, source).value.T, source)


def published(t: Task, source: Randomness, draws: int) -> Array:
    """The Gram matrix of public queries and private keys by the published release, then the outputs by noise."""
    mechanism = AttentionRelease.calibrated(
        epsilon=EPSILON / 2, delta=DELTA / 2, radius=2 * math.sqrt(t.bound), draws=draws
    )
    both, asked = np.concatenate([t.queries, t.store.keys]), len(t.queries)
    return _noisy_outputs(t, mechanism.release(both, source, rows=asked).value[:, asked:], source)


def noisy_mean(t: Task, source: Randomness) -> Array:
    """The mean of all values with noise, whatever was asked: no attention at all."""
    noise = GaussianNoise(epsilon=EPSILON, delta=DELTA, sensitivity=2 / len(t.store.values))
    return np.broadcast_to(noise.add(t.store.values.mean(0), source), (len(t.queries), VALUES))


def reads(n: int, bound: float) -> dict[str, float]:
    """Return the mean L2 error of an answer by each release, and what is known without attention or data."""
    ways: dict[str, Callable[[Task, Randomness], Array]] = {
        "noisy read, 1 query": lambda t, r: noisy_read(t, r, 1),
        "noisy read, 100 queries": lambda t, r: noisy_read(t, r, QUERIES),
        "linear state, any number of queries": linear_state,
        "token noise, any number of queries": token_noise,
        "token noise on keys, noise on 100 outputs": noisy_keys,
        MEAN: noisy_mean,
    }
    for draws in DRAWS:
        ways[f"{PUBLISHED}, k = {draws}"] = lambda t, r, k=draws: published(t, r, k)
    errors: dict[str, list[float]] = {}
    for seed in range(REPEATS):
        t = task(n, bound, seed)
        exact = t.exact
        errors.setdefault(BLIND, []).append(float(np.linalg.norm(exact, axis=1).mean()))
        for name, way in ways.items():
            answer = way(t, Randomness(seed=1000 + seed))
            gap = np.linalg.norm(answer - exact[: len(answer)], axis=1).mean()
            errors.setdefault(name, []).append(float(gap))
    found = {name: float(np.mean(values)) for name, values in errors.items()}
    best = min((name for name in found if name.startswith(PUBLISHED)), key=lambda name: found[name])
    kept = {name: value for name, value in found.items() if not name.startswith(PUBLISHED)}
    return {**kept, f"{PUBLISHED} (best k), noise on 100 outputs": found[best]}


def read_rows() -> list[Row]:
    """Error of one answer over a shared store; unit: one record, any other in its place."""
    rows, tables = [], {}
    for bound in BOUNDS:
        for n in SIZES:
            began = time.perf_counter()
            found = reads(n, bound)
            tables.setdefault(bound, {})[n] = found
            print(n, bound, {name: round(value, 4) for name, value in found.items()}, flush=True)
            rows.append(_read_row(n, bound, found, time.perf_counter() - began))
    draw(tables)
    LOG.write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")
    return rows


def _read_row(n: int, bound: float, found: dict[str, float], seconds: float) -> Row:
    ranked = sorted((name for name in found if "1 query" not in name), key=lambda name: found[name])
    best, place = ranked[0], next(i for i, name in enumerate(ranked, 1) if name.startswith(PUBLISHED))
    text = "; ".join(f"{name}: {value:.3g}" for name, value in found.items())
    return row(
        f"Attention read over {n:,} records, scores within {bound:g}, one record replaced, epsilon 1, delta 1e-6: "
        "error of an answer",
        "best for 100 queries is noisy read or linear state, or nothing beats answers without attention",
        f"best for 100 queries: {best} ({found[best]:.3g}); the published release is number {place} of "
        f"{len(ranked)}; {text}",
        best in (*RECOMMENDED, MEAN, BLIND),
        REPEATS,
        seconds,
        control=f"{found[MEAN]:.3g} by a noisy mean, {found[BLIND]:.3g} without data",
    )


def matrix_rows(sharpness: float = 8.0, rows_shown: int = 32) -> list[Row]:
    """Error of a released attention matrix; unit: one token, moved by at most beta."""
    rows = []
    for n in (64, 1000, 10_000, 100_000):
        rng = np.random.default_rng(n)
        x = task(n, 1.0, n).store.keys
        top = x[:rows_shown]
        gram = top @ x.T
        exact = attention(sharpness * gram)
        guesses = (np.full_like(exact, 1 / n), _rows(np.zeros_like(gram), sharpness))
        blind = min(_total_variation(guess, exact) for guess in guesses)
        for beta in (2.0, 0.1, 0.01):
            began, source = time.perf_counter(), Randomness(seed=n)
            sigma = gaussian.calibrate(EPSILON, DELTA, beta * math.sqrt(2 * n))
            noisy = TokenNoise(epsilon=EPSILON, delta=DELTA, norm=1.0, radius=beta).release(x, source).value
            found = {
                "Gaussian on the tokens": clip_rows(noisy, 1.0)[:rows_shown] @ clip_rows(noisy, 1.0).T,
                "Gaussian on the Gram matrix": gram + sigma * rng.normal(size=gram.shape),
            }
            for k in (*DRAWS, 256, 1024) if n <= 10_000 else (*DRAWS, 256):
                mechanism = AttentionRelease.calibrated(epsilon=EPSILON, delta=DELTA, radius=beta, draws=k)
                found[f"{PUBLISHED}, k = {k}"] = mechanism.release(x, source, rows=rows_shown).value
            errors = {name: _total_variation(_rows(estimate, sharpness), exact) for name, estimate in found.items()}
            theirs = min(value for name, value in errors.items() if name.startswith(PUBLISHED))
            ours = errors["Gaussian on the tokens"]
            useful = min(theirs, ours) < blind
            text = "; ".join(f"{name}: {value:.3g}" for name, value in errors.items())
            print(n, beta, text, "without data", round(blind, 3), flush=True)
            rows.append(
                row(
                    f"Attention matrix of {n:,} tokens, one token moved by {beta:g}, epsilon 1, delta 1e-6: "
                    "total variation of a row",
                    "token noise beats the published release at its best k, or neither beats rows without data",
                    f"token noise {ours:.3g}, published {theirs:.3g}; {text}",
                    ours < theirs or not useful,
                    rows_shown,
                    time.perf_counter() - began,
                    control=f"without data {blind:.3g}",
                )
            )
    return rows


def _rows(scores: Array, sharpness: float) -> Array:
    """Return attention from estimated scores; norms are public here, so each token's score with itself is 1."""
    known = np.clip(scores, -1, 1)
    np.fill_diagonal(known, 1.0)
    return attention(sharpness * known)


def _total_variation(first: Array, second: Array) -> float:
    return float(0.5 * np.abs(first - second).sum(-1).mean())
