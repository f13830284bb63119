"""Distinguishing games: each mechanism as it is, and broken in the ways that are met in practice.

A game plays the mechanism on two neighbouring inputs, the worst pair that is known, and scores each output, by the
likelihood ratio where it is at hand. Every game claims epsilon 1 at delta 1e-5.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unmask.privacy import audit, gaussian
from unmask.privacy.mechanisms.attention_release import AttentionRelease
from unmask.privacy.mechanisms.bounded_decoding import BoundedDecoding
from unmask.privacy.mechanisms.linear_state import LinearState
from unmask.privacy.mechanisms.noisy_read import NoisyRead, Store
from unmask.privacy.mechanisms.token_noise import TokenNoise
from unmask.privacy.sampling import Randomness

Array = NDArray[np.float64]
Play = Callable[[int, Randomness], tuple[Array, Array]]
"""Number of runs on each input and a source of randomness to the scores on the first and on the second input."""
EPSILON, DELTA = 1.0, 1e-5


@dataclass(frozen=True, kw_only=True)
class Game:
    """A mechanism that keeps its claim, and broken copies of it.

    Args:
        name: of the mechanism.
        trials: runs on each input that show a violation of factor two.
        correct: plays the mechanism.
        broken: what was broken, to how that plays.
    """

    name: str
    trials: int
    correct: Play
    broken: Mapping[str, Play]


def bound(play: Play, trials: int, seed: int, *, confidence: float = 0.95) -> audit.Bound:
    """Return the lower bound on epsilon of one audit."""
    first, second = play(trials, Randomness(seed=seed))
    return audit.distinguish(audit.game(first, second), audit.epsilon_measure(DELTA), confidence=confidence)


def _token(rows: Callable[[Array, Randomness], Array], size: float = 1.0) -> Play:
    def play(trials: int, randomness: Randomness) -> tuple[Array, Array]:
        row = np.tile([size, 0.0], (trials, 1))
        return rows(row, randomness)[:, 0], rows(-row, randomness)[:, 0]

    return play


def token_noise() -> Game:
    """One token is replaced by its opposite at the clipping norm."""
    mechanism = TokenNoise(epsilon=EPSILON, delta=DELTA, norm=1.0)
    half = gaussian.calibrate(EPSILON, DELTA, mechanism.norm or 1.0)

    def release(rows: Array, randomness: Randomness) -> Array:
        return mechanism.release(rows, randomness).value

    def with_sigma(sigma: float) -> Callable[[Array, Randomness], Array]:
        return lambda rows, randomness: rows + sigma * randomness.normal(rows.shape)

    def seeded(rows: Array, randomness: Randomness) -> Array:
        # A server that restarts with the same seed for every release.
        return np.concatenate([mechanism.release(row[None], Randomness(seed=7)).value for row in rows[:2000]])

    return Game(
        name="token noise",
        trials=200_000,
        correct=_token(release),
        broken={
            "noise halved": _token(with_sigma(mechanism.sigma / 2)),
            "clipping off": _token(with_sigma(mechanism.sigma), size=3.0),
            "sensitivity of add or remove for replace": _token(with_sigma(half)),
            "noise seeded": _token(seeded),
        },
    )


def _store(sign: float, key: Array, others: int = 63) -> Store:
    keys = np.concatenate([key[None], np.zeros((others, len(key)))])
    values = np.concatenate([[[sign]], np.zeros((others, 1))])
    return Store(keys=keys, values=values)


def noisy_read(queries: int = 16) -> Game:
    """One record's value is replaced by its opposite; its key agrees with every query."""
    mechanism = NoisyRead(epsilon=EPSILON, delta=DELTA, queries=queries, score_bound=1.0, value_norm=1.0)
    alone = replace(mechanism, queries=1)
    asked = np.tile([1.0, 0.0], (queries, 1))

    def answers(noise: Callable[[Array, Randomness], Array], key: Array, bound: float = 1.0) -> Play:
        exact = replace(mechanism, score_bound=bound)

        def side(sign: float, trials: int, randomness: Randomness) -> Array:
            top, weight = exact.exact(_store(sign, key), asked)
            joined = np.broadcast_to(np.concatenate([top, weight[:, None]], -1), (trials, queries, 2))
            noisy = noise(np.ascontiguousarray(joined), randomness)
            return (noisy[..., 0] / np.maximum(noisy[..., 1], 64 * math.exp(-1.0))).mean(-1)

        return lambda trials, randomness: (side(1.0, trials, randomness), side(-1.0, trials, randomness))

    def correct(trials: int, randomness: Randomness) -> tuple[Array, Array]:
        def side(sign: float) -> Array:
            one = _store(sign, np.array([1.0, 0.0]))
            wide = Store(
                keys=np.broadcast_to(one.keys, (trials, *one.keys.shape)),
                values=np.broadcast_to(one.values, (trials, *one.values.shape)),
            )
            return mechanism.release(wide, randomness, queries=asked).value.mean((-1, -2))

        return side(1.0), side(-1.0)

    def reused(values: Array, randomness: Randomness) -> Array:
        # One draw serves all queries: the sensitivity of the repeated answer is that of one query.
        once = alone.noise.sigma * randomness.normal((len(values), 1, values.shape[-1]))
        return values + once

    def difference(trials: int, randomness: Randomness) -> tuple[Array, Array]:
        # Two queries, towards the record and away from it; the common noise cancels.
        def side(sign: float) -> Array:
            two = np.array([[1.0, 0.0], [-1.0, 0.0]])
            top, weight = mechanism.exact(_store(sign, np.array([1.0, 0.0])), two)
            joined = np.broadcast_to(np.concatenate([top, weight[:, None]], -1), (trials, 2, 2))
            noisy = reused(joined, randomness)
            out = noisy[..., 0] / np.maximum(noisy[..., 1], 64 * math.exp(-1.0))
            return out[:, 0] - out[:, 1]

        return side(1.0), side(-1.0)

    key = np.array([1.0, 0.0])
    return Game(
        name="noisy read",
        trials=20_000,
        correct=correct,
        broken={
            "budget not composed over queries": answers(alone.noise.add, key),
            "noise drawn once and reused": difference,
            "score clipping off": answers(mechanism.noise.add, 4 * key, bound=4.0),
        },
    )


def linear_state() -> Game:
    """One record's value is replaced by its opposite, at a key whose features have the largest norm."""
    shape = LinearState(
        epsilon=EPSILON, delta=DELTA, width=1, features=4, key_norm=1.0, value_norm=1.0, feature_norm=0.5
    )
    unclipped = replace(shape, feature_norm=50.0)
    key = max((np.array([[1.0]]), np.array([[-1.0]])), key=lambda k: float(np.linalg.norm(unclipped.features_of(k))))

    def play(features: LinearState, sigma: float) -> Play:
        def side(sign: float, trials: int, randomness: Randomness) -> Array:
            phi = features.features_of(key)[0]
            exact = np.outer(phi, [sign, 1.0])
            noisy = exact + sigma * randomness.normal((trials, *exact.shape))
            return noisy[..., 0] @ phi

        return lambda trials, randomness: (side(1.0, trials, randomness), side(-1.0, trials, randomness))

    def correct(trials: int, randomness: Randomness) -> tuple[Array, Array]:
        phi = shape.features_of(key)[0]

        def side(sign: float) -> Array:
            keys = np.broadcast_to(key, (trials, 1, 1))
            store = Store(keys=keys, values=np.full((trials, 1, 1), sign))
            return shape.release(store, randomness).value.top[..., 0] @ phi

        return side(1.0), side(-1.0)

    sigma = shape.noise.sigma
    return Game(
        name="linear state",
        trials=200_000,
        correct=correct,
        broken={
            "noise halved": play(shape, sigma / 2),
            "feature clipping off": play(unclipped, sigma),
        },
    )


def attention_release(draws: int = 4) -> Game:
    """The worst pair: an empty row against one of length beta beside a very long row in its direction."""
    mechanism = AttentionRelease.calibrated(epsilon=EPSILON, delta=DELTA, radius=1.0, draws=draws)
    eta, long = mechanism.eta, 1e3 * math.sqrt(mechanism.eta)
    first, second = np.array([[1.0], [long]]), np.array([[0.0], [long]])

    def scores(gram: Array, k: int, pair: tuple[Array, Array], floor: float) -> Array:
        s1, s2 = (x @ x.T + floor * np.eye(2) for x in pair)
        gap = np.linalg.inv(s2) - np.linalg.inv(s1)
        return 0.5 * k * np.einsum("ij,tij->t", gap, gram + floor * np.eye(2))

    def play(k: int, ridge: Callable[[Array], float], pair: tuple[Array, Array] = (first, second)) -> Play:
        floor = max(ridge(pair[0]), 1e-9)

        def side(x: Array, trials: int, randomness: Randomness) -> Array:
            own = ridge(x)
            g = x @ randomness.normal((trials, 1, k)) + math.sqrt(own) * randomness.normal((trials, 2, k))
            return scores(g @ np.swapaxes(g, -1, -2) / k - own * np.eye(2), k, pair, floor)

        return lambda trials, randomness: (side(pair[0], trials, randomness), side(pair[1], trials, randomness))

    def correct(trials: int, randomness: Randomness) -> tuple[Array, Array]:
        sides = [mechanism.release(np.broadcast_to(x, (trials, *x.shape)), randomness).value for x in (first, second)]
        return tuple(scores(gram, draws, (first, second), eta) for gram in sides)  # type: ignore[return-value]

    small = (np.array([[2.0], [0.5]]), np.array([[1.0], [0.5]]))
    return Game(
        name="attention release",
        trials=100_000,
        correct=correct,
        broken={
            "ridge read off the data": play(draws, lambda x: float(np.mean(x**2)), small),
            "ridge forgotten": play(draws, lambda x: 0.0, small),
            "16 times the accounted draws": play(16 * draws, lambda x: eta),
        },
    )


def bounded_decoding(tokens: int = 20) -> Game:
    """A marked span that changes every token's distribution, against the text without it."""
    mechanism = BoundedDecoding(epsilon=EPSILON, delta=DELTA, tokens=tokens)
    private, public = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.1, 0.3, 0.3, 0.3])

    def play(mixed: Array) -> Play:
        ratio = np.log(mixed) - np.log(public)

        def side(chances: Array, trials: int, randomness: Randomness) -> Array:
            place = randomness.uniform((trials, tokens))
            return ratio[np.minimum(np.searchsorted(np.cumsum(chances), place, side="right"), 3)].sum(-1)

        return lambda trials, randomness: (side(mixed, trials, randomness), side(public, trials, randomness))

    alone = replace(mechanism, tokens=1)
    return Game(
        name="bounded decoding",
        trials=200_000,
        correct=play(mechanism.mixture(private, public)),
        broken={
            "divergence not bounded": play(private),
            "budget not composed over tokens": play(alone.mixture(private, public)),
        },
    )


def dp_sgd(noise: float = 1.695, rate: float = 0.05, steps: int = 50) -> Game:
    """One example with a gradient at the clipping norm, in or out; others contribute a known sum."""

    def play(true_noise: float, true_rate: float, gradient: float = 1.0) -> Play:
        def side(inside: bool, trials: int, randomness: Randomness) -> Array:
            drawn = inside & (randomness.uniform((trials, steps)) < true_rate)
            y = gradient * drawn + true_noise * randomness.normal((trials, steps))
            step = np.log1p(true_rate * np.expm1((gradient * y - gradient**2 / 2) / true_noise**2))
            return step.sum(-1)

        return lambda trials, randomness: (side(True, trials, randomness), side(False, trials, randomness))

    return Game(
        name="DP-SGD steps",
        trials=100_000,
        correct=play(noise, rate),
        broken={
            "noise halved": play(noise / 2, rate),
            "sampling rate 4 times the accounted one": play(noise, 4 * rate),
            "clipping off": play(noise, rate, gradient=3.0),
        },
    )


def games() -> tuple[Game, ...]:
    """Return all games."""
    return (token_noise(), noisy_read(), linear_state(), attention_release(), bounded_decoding(), dp_sgd())
