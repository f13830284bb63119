"""The one-run audit: many canaries, each put in or left out by a coin, and one run (Steinke, Nasr, Jagielski 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom

from unmask.errors import BadInput
from unmask.privacy.checks import at_least_one, probability

Array = NDArray[np.float64]
HIGHEST = 60.0
"""Largest epsilon that is tried."""


@dataclass(frozen=True, kw_only=True)
class OneRun:
    """A lower bound on epsilon from one run.

    Args:
        epsilon: the bound.
        correct: right guesses.
        guesses: guesses made.
        canaries: canaries tossed for, abstentions included.
        cap: the bound that this many guesses, all right, would give: no mechanism can look worse.
        confidence: probability that `epsilon` is no overestimate, at least.
    """

    epsilon: float
    correct: int
    guesses: int
    canaries: int
    cap: float
    confidence: float = field(default=0.95)

    def __str__(self) -> str:
        return (
            f"epsilon at least {self.epsilon:.3g} with {100 * self.confidence:g}% confidence: {self.correct} of "
            f"{self.guesses} guesses right, {self.canaries} canaries; {self.guesses} right guesses would show "
            f"{self.cap:.3g}, so nothing above that can be seen; a low bound is no certificate"
        )


def p_value(correct: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """Return how likely an (epsilon, delta) mechanism lets v or more of r guesses be right.

    With `W ~ Binomial(r, e^eps / (e^eps + 1))` and m canaries it is at most
    `Pr[W >= v] + 2 m delta max_i Pr[v > W >= v - i] / i` (theorem 5.2 there). Neighbours differ by
    adding or removing one canary.

    Args:
        correct: v.
        guesses: r.
        canaries: m.
        epsilon: at least 0.
        delta: in [0, 1).
    """
    chance = float(expit(epsilon))
    result = float(binom.sf(correct - 1, guesses, chance))
    if delta > 0 and correct > 0:
        i = np.arange(1, correct + 1)
        within = np.cumsum(binom.pmf(correct - i, guesses, chance))
        result += 2 * canaries * delta * float((within / i).max())
    return min(1.0, result)


def lower_bound(correct: int, guesses: int, canaries: int, delta: float, confidence: float = 0.95) -> float:
    """Return the largest epsilon >= 0 whose p-value is at most 1 - confidence, 0 if there is none."""
    error = 1 - probability("confidence", confidence)

    def excess(epsilon: float) -> float:
        return p_value(correct, guesses, canaries, epsilon, delta) - error

    if excess(0.0) >= 0:
        return 0.0
    if excess(HIGHEST) < 0:
        return HIGHEST
    return float(brentq(excess, 0.0, HIGHEST, xtol=1e-9))


def cap(guesses: int, confidence: float = 0.95) -> float:
    """Return the bound of r right guesses at delta = 0: `logit((1 - confidence)^(1/r))`.

    Args:
        guesses: r.
        confidence: in (0, 1).

    Example:
        >>> round(cap(1000), 2)
        5.81
    """
    error = 1 - probability("confidence", confidence)
    return max(0.0, float(logit(error ** (1 / at_least_one("guesses", guesses)))))


def one_run(
    ids: Sequence[str],
    scores: Array,
    included: NDArray[np.bool_],
    *,
    delta: float,
    guesses: int | None = None,
    confidence: float = 0.95,
) -> OneRun:
    """Guess `in` for the highest scores and `out` for the lowest, abstain between, and bound epsilon.

    Args:
        ids: m different names of the canaries.
        scores: (m,) higher means rather in; computed without `included`.
        included: (m,) fair independent coins.
        delta: in [0, 1).
        guesses: r, fixed before the coins were looked at, half of it for each side; None guesses for all.
        confidence: in (0, 1).

    Raises:
        BadInput: if lengths differ, ids repeat, a score is not finite or r is out of range.
    """
    m = len(ids)
    if not m == len(scores) == len(included):
        raise BadInput("scores", len(scores), f"do not match {m} ids", "give one score and one coin per canary")
    if len(set(ids)) != m:
        raise BadInput("ids", m, "repeat", "name each canary once")
    if not np.isfinite(scores).all():
        raise BadInput("scores", "array", "holds NaN or infinity", "score every canary with a finite number")
    r = m if guesses is None else guesses
    if not 2 <= r <= m:
        raise BadInput("guesses", r, f"is not between 2 and {m}", "guess for some of the canaries")
    # Ties are broken by the id, which says nothing about the coin.
    order = sorted(range(m), key=lambda i: (float(scores[i]), ids[i]))
    low, high = order[: r // 2], order[m - (r - r // 2) :]
    correct = int(included[high].sum() + (~included[low]).sum())
    bound = lower_bound(correct, r, m, delta, confidence)
    return OneRun(epsilon=bound, correct=correct, guesses=r, canaries=m, cap=cap(r, confidence), confidence=confidence)
