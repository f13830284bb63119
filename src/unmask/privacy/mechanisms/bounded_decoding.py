"""Bounded-divergence decoding: text whose every token may lean on a marked span only so far (after DP-Fusion)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.privacy.budget import Spent
from unmask.privacy.checks import at_least_one, budget
from unmask.privacy.claim import Claim, Released, released
from unmask.privacy.sampling import Randomness

Array = NDArray[np.float64]
Distributions = Callable[[tuple[int, ...]], tuple[Array, Array]]
"""Tokens so far to next-token distributions: (..., v) with each marked span, and (v,) with none."""
STEPS = 30
"""Halvings of the interval of a weight."""


def renyi_divergence(first: Array, second: Array, order: float) -> Array:
    """Return `ln(sum_t p_t^a q_t^(1-a)) / (a-1)` over the last axis; infinite where q is 0 and p is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = order * np.log(first) + (1 - order) * np.log(second)
        terms = np.where(first == 0, -np.inf, np.where(second == 0, np.inf, terms))
        top = terms.max(-1, keepdims=True)
        total = top[..., 0] + np.log(np.exp(terms - np.where(np.isfinite(top), top, 0)).sum(-1))
    value = np.where(top[..., 0] == np.inf, np.inf, total) / (order - 1)
    return np.asarray(np.maximum(value, 0.0), dtype=np.float64)


def largest_weight(private: Array, public: Array, bound: float, order: float, *, steps: int = STEPS) -> Array:
    """Return the largest weight w for which `m = w p + (1-w) q` and q diverge by at most the bound, both ways.

    Each divergence is convex in w and 0 at w = 0, so it grows with w and halving finds the place; the
    lower end of the last interval is returned, which satisfies the bound.

    Args:
        private: p (..., v).
        public: q (v,) or (..., v).
        bound: on `D_a(m || q)` and `D_a(q || m)`.
        order: a > 1.
        steps: halvings; fewer leave a weight that is less by up to 2^-steps.
    """
    with np.errstate(divide="ignore"):
        known = np.log(public)
    absent = public == 0
    limit = (order - 1) * bound

    def fits(weight: Array) -> NDArray[np.bool_]:
        mixed = weight[..., None] * private + (1 - weight[..., None]) * public
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.log(mixed)
            there = np.where(absent, np.where(mixed == 0, -np.inf, np.inf), order * own + (1 - order) * known)
            back = np.where(absent, -np.inf, order * known + (1 - order) * own)
        return np.asarray((_log_sum(there) <= limit) & (_log_sum(back) <= limit))

    whole = np.ones(private.shape[:-1])
    low, high = np.zeros(private.shape[:-1]), whole
    for _ in range(steps):
        middle = (low + high) / 2
        good = fits(middle)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return np.where(fits(whole), 1.0, low)


def _log_sum(terms: Array) -> Array:
    top = terms.max(-1, keepdims=True)
    with np.errstate(over="ignore", divide="ignore"):  # an infinite term makes the sum infinite, whatever the others do
        total = top[..., 0] + np.log(np.exp(terms - np.where(np.isfinite(top), top, 0)).sum(-1))
    return np.asarray(np.where(top[..., 0] == np.inf, np.inf, total), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class BoundedDecoding:
    """Sample each token from a mixture of the model that sees the marked span and the model that does not.

    Per token: the largest weight such that the Renyi divergence of order a between the mixture and the public
    distribution, in both directions, is at most b. Against a text with the span removed this is b per token. Against
    a text with another span in its place the triangle inequality through the public distribution applies
    (Mironov 2017, proposition 11): with b enforced at order 2a, `D_a(m || m') <= (a - 1/2)/(a - 1) b + b`.
    Over T tokens the sums add, and `epsilon = T D_a + ln(1 - 1/a) - ln(a delta)/(a - 1)`. Several spans: the
    average of their mixtures; by joint quasi-convexity each span costs no more than alone. The weights stay private.

    Args:
        epsilon: of the whole text.
        delta: of the whole text.
        tokens: T, the most tokens that are sampled, public.
        replace: whether the span may be exchanged for any other; else only removed.
        order: a > 1, public; None takes the one that leaves most for each token.

    Raises:
        BadInput: if a value is out of range, or the order leaves nothing.

    Example:
        >>> BoundedDecoding(epsilon=4.0, delta=1e-5, tokens=50).guarantee().unit
        'one marked span'
    """

    name: ClassVar[str] = "bounded-decoding"
    epsilon: float
    delta: float
    tokens: int
    replace: bool = field(default=False)
    order: float | None = field(default=None)

    def __post_init__(self) -> None:
        budget(self.epsilon, self.delta)
        at_least_one("tokens", self.tokens)
        if self.order is not None and not self.order > 1:
            raise BadInput("order", self.order, "is not above 1", "give a Renyi order such as 8")
        if self.bound <= 0:
            rule = "leaves nothing for the tokens after the conversion to (epsilon, delta)"
            raise BadInput("order", self.order, rule, "take a larger order, or let it be chosen")

    @cached_property
    def alpha(self) -> float:
        """The order of the sum. By default the one with the largest b/a, as small divergences grow like their order."""
        if self.order is not None:
            return self.order
        grid = 1 + np.geomspace(1e-2, 1e4, 2000)
        return float(grid[int(np.argmax([self._bound(a) / a for a in grid]))])

    @property
    def enforced(self) -> float:
        """The order at which each token is bounded."""
        return 2 * self.alpha if self.replace else self.alpha

    @property
    def bound(self) -> float:
        """Divergence b that each token may show."""
        return self._bound(self.alpha)

    def _bound(self, a: float) -> float:
        rest = self.epsilon - math.log1p(-1 / a) + math.log(a * self.delta) / (a - 1)
        factor = 1 + (a - 0.5) / (a - 1) if self.replace else 1.0
        return rest / (self.tokens * factor)

    def spent(self) -> Spent:
        """Return what one answer enters in a ledger: divergences grow with their order, so lower ones cost no more."""
        each = self.bound * (1 + (self.alpha - 0.5) / (self.alpha - 1) if self.replace else 1.0)
        return Spent(name=self.name, curve=lambda order: self.tokens * each if order <= self.alpha else math.inf)

    def guarantee(self) -> Claim:
        """Return what holds for the whole text."""
        return Claim(
            epsilon=self.epsilon,
            delta=self.delta,
            unit="one marked span",
            neighbours="replace the span by any other" if self.replace else "remove the span (the redacted text)",
            accountant=f"Renyi of order {self.alpha:.4g}",
            scope=f"at most {self.tokens} tokens of one answer",
            status="proved",
        )

    def mixtures(self, private: Array, public: Array, *, steps: int = STEPS) -> Array:
        """Return the distributions (t, v) that the tokens of a text with one span are drawn from, all at once.

        Args:
            private: (t, v) with the span.
            public: (t, v) with none.
            steps: halvings of the interval of each weight.
        """
        weight = largest_weight(private, public, self.bound, self.enforced, steps=steps)[:, None]
        return np.asarray(weight * private + (1 - weight) * public)

    def mixture(self, private: Array, public: Array) -> Array:
        """Return the distribution (v,) that a token is drawn from.

        Args:
            private: (v,) with the span, or (g, v) with each of g spans alone.
            public: (v,) with none.

        Raises:
            BadInput: if one is no distribution.
        """
        for name, rows in (("private", private), ("public", public)):
            if not (np.isfinite(rows).all() and (rows >= 0).all() and np.allclose(rows.sum(-1), 1, atol=1e-6)):
                raise BadInput(name, "array", "is no distribution", "give probabilities that add up to 1")
        p = np.atleast_2d(private / private.sum(-1, keepdims=True))
        q = public / public.sum()
        weight = largest_weight(p, q, self.bound, self.enforced)[:, None]
        result: Array = (weight * p + (1 - weight) * q).mean(0)
        return result

    def release(
        self, data: Distributions, randomness: Randomness, *, stop: int | None = None
    ) -> Released[tuple[int, ...]]:
        """Return the sampled tokens, at most T.

        Args:
            data: gives both distributions after the tokens so far, for example by two passes of a causal model.
            randomness: source of the choices.
            stop: token that ends the text.

        Raises:
            BadInput: if it gives no distributions.
        """
        text: tuple[int, ...] = ()
        while len(text) < self.tokens and (not text or text[-1] != stop):
            chances = np.cumsum(self.mixture(*data(text)))
            place = float(randomness.uniform((1,))[0]) * chances[-1]
            text = (*text, int(np.searchsorted(chances, place, side="right")))
        return released(text, self.guarantee(), randomness)
