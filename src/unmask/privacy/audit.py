"""A lower bound on epsilon from a distinguishing game: it refutes claims, it certifies none.

A game runs the mechanism many times on each of two neighbouring inputs and scores every output; a large
score says `first input`. If the claim holds, no threshold on any score gives hit and false alarm rates
outside the claim's trade-off curve. A low bound says that this score on this pair found nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import beta

from unmask.errors import BadInput
from unmask.privacy import gaussian
from unmask.privacy.checks import probability

Array = NDArray[np.float64]
Measure = Callable[[float, float], float]
"""Lower bound on the hit rate and upper bound on the false alarm rate to a lower bound on privacy lost."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """One score for each run of the mechanism; ids travel with them, so that no reordering mixes the classes up.

    Args:
        ids: n different names of the runs.
        values: (n,) finite scores.
        first: (n,) whether the run was on the first input.

    Raises:
        BadInput: if lengths differ, ids repeat, a score is not finite, or one class has fewer than 4 runs.
    """

    ids: Sequence[str]
    values: Array
    first: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.values) == len(self.first):
            raise BadInput("scores", len(self.values), f"do not match {len(self.ids)} ids", "give one score per run")
        if len(set(self.ids)) != len(self.ids):
            raise BadInput("ids", len(self.ids), "repeat", "name each run once: a run counted twice is no evidence")
        if not np.isfinite(self.values).all():
            raise BadInput("scores", "array", "holds NaN or infinity", "score every run with a finite number")
        if min(int(self.first.sum()), int((~self.first).sum())) < 4:
            raise BadInput("first", int(self.first.sum()), "leaves a class with fewer than 4 runs", "run both inputs")


def game(first: Array, second: Array) -> Scores:
    """Return the scores of two classes as they come, with ids `a0, a1, ...` and `b0, b1, ...`.

    Args:
        first: (m,) scores of runs on the first input.
        second: (n,) scores of runs on the second input.
    """
    ids = [f"a{i}" for i in range(len(first))] + [f"b{i}" for i in range(len(second))]
    truth = np.arange(len(ids)) < len(first)
    return Scores(ids=ids, values=np.concatenate([first, second]), first=truth)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a game proved, with confidence.

    Args:
        value: the lower bound, of epsilon or mu.
        hit: lower bound on the hit rate.
        alarm: upper bound on the false alarm rate.
        threshold: what was fixed on the first half.
        trials: runs of the second half, both classes.
        cap: the largest value that this many trials could have shown.
        confidence: probability that `value` is no overestimate, at least.
    """

    value: float
    hit: float
    alarm: float
    threshold: float
    trials: int
    cap: float
    confidence: float = field(default=0.95)

    def __str__(self) -> str:
        return (
            f"at least {self.value:.3g} with {100 * self.confidence:g}% confidence from {self.trials} trials, which "
            f"could have shown {self.cap:.3g} at most; a low bound is no certificate"
        )

    def refutes(self, curve: Callable[[float], float]) -> bool:
        """Return whether the rates lie outside a claimed trade-off curve, in either role of the two inputs."""
        return 1 - self.hit < curve(self.alarm) or self.alarm < curve(1 - self.hit)


def clopper_pearson(successes: NDArray[np.generic] | int, trials: int, error: float) -> tuple[Array, Array]:
    """Return one-sided exact bounds on a binomial's chance, each wrong with probability at most `error`.

    `lower = Beta^-1(error; x, n-x+1)`, `upper = Beta^-1(1-error; x+1, n-x)` (Clopper and Pearson 1934).

    Args:
        successes: x, any shape.
        trials: n.
        error: of each side.
    """
    x = np.asarray(successes, dtype=np.float64)
    lower = np.where(x > 0, beta.ppf(error, np.maximum(x, 1), trials - x + 1), 0.0)
    upper = np.where(x < trials, beta.ppf(1 - error, x + 1, np.maximum(trials - x, 1)), 1.0)
    return lower, upper


def epsilon_measure(delta: float) -> Measure:
    """Return `max(ln((hit - delta) / alarm), ln((1 - alarm - delta) / (1 - hit)), 0)` (Kairouz et al. 2015)."""

    def measure(hit: float, alarm: float) -> float:
        rows = ((hit - delta, alarm), (1 - alarm - delta, 1 - hit))
        return max([0.0, *(math.log(a / b) if b > 0 else math.inf for a, b in rows if a > 0)])

    return measure


def mu_measure(hit: float, alarm: float) -> float:
    """Return `Phi^-1(hit) - Phi^-1(alarm)`, at least 0: a bound for mechanisms that claim to be mu-Gaussian.

    It uses the middle of the curve, where few trials say much (Nasr et al. 2023). It bounds epsilon only of
    a mechanism that is Gaussian; against a claim of mu it needs no such belief.
    """
    return max(0.0, float(ndtri(hit) - ndtri(alarm))) if hit > 0 and alarm < 1 else 0.0


def epsilon_from_mu(mu: float, delta: float) -> float:
    """Return epsilon of a mu-Gaussian mechanism at delta, 0 for mu = 0."""
    return gaussian.epsilon_of(delta, 1.0, mu) if mu > 0 else 0.0


def distinguish(scores: Scores, measure: Measure, *, confidence: float = 0.95) -> Bound:
    """Return the bound of the threshold that did best on one half, measured on the other half.

    Args:
        scores: of both inputs.
        measure: such as `epsilon_measure(1e-5)` or `mu_measure`.
        confidence: shared equally by the two rates.

    Raises:
        BadInput: if confidence is not in (0, 1).
    """
    error = (1 - probability("confidence", confidence)) / 2
    first, second = scores.values[scores.first], scores.values[~scores.first]
    best, sign, threshold = -1.0, 1.0, 0.0
    for way in (1.0, -1.0):
        # Hundreds of thresholds are tried, so the lucky ones in the tails are held to a stricter interval.
        value, at = _best_threshold(way * first[::2], way * second[::2], measure, error / 100)
        if value > best:
            best, sign, threshold = value, way, at
    a, b = sign * first[1::2], sign * second[1::2]
    hit = float(clopper_pearson(int((a > threshold).sum()), len(a), error)[0])
    alarm = float(clopper_pearson(int((b > threshold).sum()), len(b), error)[1])
    perfect = float(clopper_pearson(len(a), len(a), error)[0]), float(clopper_pearson(0, len(b), error)[1])
    return Bound(
        value=measure(hit, alarm),
        hit=hit,
        alarm=alarm,
        threshold=sign * threshold,
        trials=len(a) + len(b),
        cap=measure(*perfect),
        confidence=confidence,
    )


def _best_threshold(first: Array, second: Array, measure: Measure, error: float) -> tuple[float, float]:
    """Try thresholds between the scores of both classes, dense in the upper tail where epsilon shows."""
    pooled = np.sort(np.concatenate([first, second]))[::-1]
    ranks = np.unique(np.geomspace(1, len(pooled), 200).astype(int)) - 1
    ranks = np.unique(np.concatenate([ranks, len(pooled) - 1 - ranks, np.linspace(0, len(pooled) - 1, 99).astype(int)]))
    places = pooled[ranks]
    a, b = np.sort(first), np.sort(second)
    hits = clopper_pearson(len(a) - np.searchsorted(a, places, "right"), len(a), error)[0]
    alarms = clopper_pearson(len(b) - np.searchsorted(b, places, "right"), len(b), error)[1]
    values = [measure(float(h), float(f)) for h, f in zip(hits, alarms, strict=True)]
    best = int(np.argmax(values))
    return values[best], float(places[best])
