"""A noisy attention read: queries over a shared store of many people's records, a bounded number of them."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.privacy.budget import Spent
from unmask.privacy.checks import at_least_one, budget, finite, positive
from unmask.privacy.claim import Claim, Released, released
from unmask.privacy.gaussian import composed
from unmask.privacy.noise import GaussianNoise, clip_rows
from unmask.privacy.sampling import Randomness

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """Private records.

    Args:
        keys: (..., n, d).
        values: (..., n, w).
    """

    keys: Array
    values: Array


@dataclass(frozen=True, kw_only=True)
class NoisyRead:
    """Answer a query q by `N / max(Z, n e^-c)`, `N = sum_i w_i v_i + noise`, `Z = sum_i w_i + noise / V`.

    Weights `w_i = exp(clip(scale q k_i, -c, c))` and values clipped to norm V. Replacing one row moves (N, V Z) by
    `||w v - w' v'||^2 + V^2 (w - w')^2 <= V^2 [(w + w')^2 + (w - w')^2] = 2 V^2 (w^2 + w'^2) <= 4 V^2 e^2c`,
    attained at `v' = -v`, `w = w' = e^c`: the sensitivity is `2 V e^c` for each row that a record may have. Q queries,
    each chosen after the last answer, compose to `sqrt(Q)` times that.

    Args:
        epsilon: of all queries together.
        delta: of all queries together.
        queries: Q, the most that may be asked.
        score_bound: c, public.
        value_norm: V, public.
        scale: factor of the scores, public, such as `1 / sqrt(d)`.
        rows: how many rows one record may have, public.
        grid: step for the exact sampler, or None.
        width: w, needed with a grid.

    Raises:
        BadInput: if a value is out of range.

    Example:
        >>> NoisyRead(epsilon=1.0, delta=1e-5, queries=100, score_bound=1.0, value_norm=1.0).guarantee().unit
        'one record'
    """

    name: ClassVar[str] = "noisy-read"
    epsilon: float
    delta: float
    queries: int
    score_bound: float
    value_norm: float
    scale: float = field(default=1.0)
    rows: int = field(default=1)
    grid: float | None = field(default=None)
    width: int | None = field(default=None)

    def __post_init__(self) -> None:
        budget(self.epsilon, self.delta)
        at_least_one("queries", self.queries)
        at_least_one("rows", self.rows)
        for name in ("score_bound", "value_norm", "scale"):
            positive(name, getattr(self, name))
        if self.grid is not None and self.width is None:
            raise BadInput("width", None, "is needed with a grid", "give the number of entries of a value")

    @cached_property
    def noise(self) -> GaussianNoise:
        """The noise of each entry of (N, V Z), calibrated to all queries together."""
        one = 2 * self.value_norm * math.exp(self.score_bound) * self.rows
        return GaussianNoise(
            epsilon=self.epsilon,
            delta=self.delta,
            sensitivity=composed(one, self.queries),
            entries=self.queries * ((self.width or 0) + 1),
            grid=self.grid,
        )

    def spent(self) -> Spent:
        """Return what one release enters in a ledger."""
        return self.noise.spent(self.name)

    def guarantee(self) -> Claim:
        """Return what holds for all answers together."""
        return Claim(
            epsilon=self.epsilon,
            delta=self.delta,
            unit="one record",
            neighbours=f"replace one record of at most {self.rows} row{'s' if self.rows > 1 else ''}, n is public",
            accountant=self.noise.accountant,
            scope=f"at most {self.queries} queries in all",
            status="proved",
            arithmetic=self.noise.arithmetic,
        )

    def exact(self, store: Store, queries: Array) -> tuple[Array, Array]:
        """Return N (..., q, w) and Z (..., q) before noise: private."""
        weights = self.weights(store.keys, queries)
        return weights @ clip_rows(store.values, self.value_norm), weights.sum(-1)

    def weights(self, keys: Array, queries: Array) -> Array:
        """Return `w_i = exp(clip(scale q k_i, -c, c))` (..., q, n) of keys (..., n, d) for queries (q, d)."""
        scores = self.scale * (queries @ np.swapaxes(keys, -1, -2))
        return np.asarray(np.exp(np.clip(scores, -self.score_bound, self.score_bound)))

    def _noisy(self, store: Store, queries: Array, randomness: Randomness) -> Array:
        if self.grid is None:
            top, weight = self.exact(store, queries)
            return self.noise.add(np.concatenate([top, self.value_norm * weight[..., None]], -1), randomness)
        values = clip_rows(store.values, self.value_norm)
        mass = np.full((*values.shape[:-1], 1), self.value_norm)
        rows = np.concatenate([values, mass], -1)[..., None, :, :]
        return self.noise.add_to_sum(self.weights(store.keys, queries)[..., None] * rows, randomness)

    def sums(self, store: Store, randomness: Randomness, *, queries: Array) -> Released[Array]:
        """Return the noisy (N, V Z) (..., q, w + 1) that answers are computed from; arguments as in `release`.

        Raises:
            BadInput: as `release`.
        """
        if len(queries) > self.queries:
            rule = f"are more than the {self.queries} that the budget was split over"
            raise BadInput("queries", len(queries), rule, "ask fewer, or calibrate to more")
        finite("store", max(float(np.abs(part).max(initial=0.0)) for part in (store.keys, store.values)))
        if self.width is not None and store.values.shape[-1] != self.width:
            raise BadInput("store", store.values.shape, f"has no values of {self.width}", "state the true width")
        budget(self.epsilon, self.delta, records=store.keys.shape[-2] // self.rows or None)
        return released(self._noisy(store, queries, randomness), self.guarantee(), randomness)

    def release(self, store: Store, randomness: Randomness, *, queries: Array) -> Released[Array]:
        """Return the answers (..., q, w), post-processing of `sums`.

        Args:
            store: n records; leading axes are separate stores.
            randomness: source of the noise.
            queries: (q, d), public, at most Q of them; a second call spends the budget a second time.

        Raises:
            BadInput: if there are too many queries, or the data is not finite or not as wide as was said.
        """
        noisy = self.sums(store, randomness, queries=queries).value
        least = store.keys.shape[-2] * math.exp(-self.score_bound)
        below = np.maximum(noisy[..., -1:] / self.value_norm, least)
        return released(noisy[..., :-1] / below, self.guarantee(), randomness)
