"""A private linear-attention state: released once, queried without limit."""

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
from unmask.privacy.mechanisms.noisy_read import Store
from unmask.privacy.noise import GaussianNoise, clip_rows
from unmask.privacy.sampling import Randomness

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """A released state; reading it is post-processing.

    Args:
        top: (..., m, w) noisy `sum_i phi(k_i) v_i^T`.
        below: (..., m) noisy `sum_i phi(k_i)`.
        least: public lower bound on the denominator of a read.
        settings: what made it, for the features of the queries.
    """

    top: Array
    below: Array
    least: float
    settings: "LinearState"

    def read(self, queries: Array) -> Array:
        """Return `phi(q)^T top / max(phi(q)^T below, least)`, (..., q, w), for queries (q, d)."""
        features = self.settings.features_of(queries)
        weight = np.maximum((features @ self.below[..., None])[..., 0], self.least)
        result: Array = features @ self.top / weight[..., None]
        return result


@dataclass(frozen=True, kw_only=True)
class LinearState:
    """Release `[sum_i phi(k_i) v_i^T, V sum_i phi(k_i)]` with Gaussian noise on every entry.

    Positive random features `phi(x) = exp(W x - ||x||^2/2) / sqrt(m)` have `E phi(q)^T phi(k) = exp(q^T k)` for
    standard normal rows of W (Choromanski et al. 2021); the rows are made orthogonal in blocks. They are clipped to
    norm F. With `u = (v, V)` the release is `sum_i phi_i u_i^T`, and replacing one record moves it by
    `||phi u^T - phi' u'^T||^2 = |phi|^2 |u|^2 + |phi'|^2 |u'|^2 - 2 (phi phi') (u u')`. Features are positive, and
    `u u' = v v' + V^2 >= 0`, so the last term only helps: the sensitivity is `2 F V`.

    Args:
        epsilon: of the release, for all time.
        delta: of the release.
        width: d of keys and queries.
        features: m.
        key_norm: R to which keys and queries are clipped, public.
        value_norm: V, public.
        feature_norm: F, public; None is `exp(R^2/2)`, the root mean square norm at `||k|| = R`.
        seed: of W, which is public and no noise.
        grid: step for the exact sampler, or None.
        value_width: w, needed with a grid.

    Raises:
        BadInput: if a value is out of range.

    Example:
        >>> LinearState(epsilon=1.0, delta=1e-5, width=8, features=64, key_norm=1.0, value_norm=1.0).guarantee().scope
        'one release, unlimited queries'
    """

    name: ClassVar[str] = "linear-state"
    epsilon: float
    delta: float
    width: int
    features: int
    key_norm: float
    value_norm: float
    feature_norm: float | None = field(default=None)
    seed: int = field(default=0)
    grid: float | None = field(default=None)
    value_width: int | None = field(default=None)

    def __post_init__(self) -> None:
        budget(self.epsilon, self.delta)
        at_least_one("width", self.width)
        at_least_one("features", self.features)
        for name in ("key_norm", "value_norm"):
            positive(name, getattr(self, name))
        if self.feature_norm is not None:
            positive("feature_norm", self.feature_norm)
        if self.grid is not None and self.value_width is None:
            raise BadInput("value_width", None, "is needed with a grid", "give the number of entries of a value")

    @property
    def bound(self) -> float:
        """F."""
        return math.exp(self.key_norm**2 / 2) if self.feature_norm is None else self.feature_norm

    @cached_property
    def frequencies(self) -> Array:
        """W (m, d): blocks of d orthogonal directions with the lengths of Gaussian vectors; public."""
        rng = np.random.default_rng(self.seed)
        blocks = []
        for _ in range(-(-self.features // self.width)):
            q, r = np.linalg.qr(rng.standard_normal((self.width, self.width)))
            q *= np.sign(np.diag(r))  # without it the directions are not uniform and the kernel is biased
            lengths = np.linalg.norm(rng.standard_normal((self.width, self.width)), axis=1)
            blocks.append(q.T * lengths[:, None])
        return np.concatenate(blocks)[: self.features]

    def features_of(self, points: Array) -> Array:
        """Return clipped positive features (..., m) of keys or queries (..., d)."""
        x = clip_rows(points, self.key_norm)
        power = x @ self.frequencies.T - 0.5 * np.sum(x * x, -1, keepdims=True)
        return clip_rows(np.exp(power) / math.sqrt(self.features), self.bound)

    @cached_property
    def noise(self) -> GaussianNoise:
        """The noise of each entry of the stacked state."""
        return GaussianNoise(
            epsilon=self.epsilon,
            delta=self.delta,
            sensitivity=2 * self.bound * self.value_norm,
            entries=self.features * ((self.value_width or 0) + 1),
            grid=self.grid,
        )

    def _noisy(self, features: Array, rows: Array, randomness: Randomness) -> Array:
        if self.grid is None:
            return self.noise.add(np.swapaxes(features, -1, -2) @ rows, randomness)
        terms = features[..., :, None] * rows[..., None, :]
        flat = terms.reshape(*terms.shape[:-2], -1)
        return self.noise.add_to_sum(flat, randomness).reshape(*flat.shape[:-2], *terms.shape[-2:])

    def spent(self) -> Spent:
        """Return what one release enters in a ledger."""
        return self.noise.spent(self.name)

    def guarantee(self) -> Claim:
        """Return what holds for the state and every answer read from it."""
        return Claim(
            epsilon=self.epsilon,
            delta=self.delta,
            unit="one record",
            neighbours="replace one record, n is public",
            accountant=self.noise.accountant,
            scope="one release, unlimited queries",
            status="proved",
            arithmetic=self.noise.arithmetic,
        )

    def release(self, store: Store, randomness: Randomness) -> Released[State]:
        """Return the state.

        Args:
            store: n records; leading axes are separate stores.
            randomness: source of the noise.

        Raises:
            BadInput: if the data is not finite or not as wide as was said.
        """
        finite("store", max(float(np.abs(part).max(initial=0.0)) for part in (store.keys, store.values)))
        if store.keys.shape[-1] != self.width:
            raise BadInput("store", store.keys.shape, f"has no keys of {self.width}", "state the true width")
        if self.value_width is not None and store.values.shape[-1] != self.value_width:
            rule = f"has no values of {self.value_width}"
            raise BadInput("store", store.values.shape, rule, "state the true width")
        budget(self.epsilon, self.delta, records=store.keys.shape[-2])
        features = self.features_of(store.keys)
        values = clip_rows(store.values, self.value_norm)
        mass = np.full((*values.shape[:-1], 1), self.value_norm)
        noisy = self._noisy(features, np.concatenate([values, mass], -1), randomness)
        # exp(q k) is at least exp(-R^2), up to the features' own error.
        least = store.keys.shape[-2] * math.exp(-(self.key_norm**2))
        state = State(top=noisy[..., :-1], below=noisy[..., -1] / self.value_norm, least=least, settings=self)
        return released(state, self.guarantee(), randomness)
