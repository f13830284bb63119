"""The published attention release: the covariance of Gaussian draws whose covariance is the private matrix."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unmask.privacy import worst_case
from unmask.privacy.budget import Spent
from unmask.privacy.checks import at_least_one, finite, positive, probability, public_bound
from unmask.privacy.claim import Claim, Released, released
from unmask.privacy.sampling import Randomness

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AttentionRelease:
    """Release `1/k sum_i g_i g_i^T - eta I` with draws `g_i ~ N(0, X X^T + eta I)`: an estimate of `X X^T`.

    Its softmax, `softmax.attention`, costs nothing more. The ridge eta is a public number, added before the draws
    and subtracted from the average, so that the least eigenvalue needs not be read off the data. Neighbours differ in
    one row by at most beta in norm; privacy depends on `s = beta / sqrt(eta)` and k alone (`worst_case`).

    A research mechanism: at equal privacy the noise of `TokenNoise` is smaller, and everything after it is free.
    See docs/guarantees/attention-release.md.

    Args:
        radius: beta, the largest move of one row that is hidden.
        ridge: eta, a public number; None and `auto` are refused, for they would come from the data.
        draws: k.
        delta: of the claim.

    Raises:
        BadInput: if a bound is not a public positive number.

    Example:
        >>> release = AttentionRelease.calibrated(epsilon=1.0, delta=1e-5, radius=0.1, draws=64)
        >>> print(release.guarantee().scope)
        radius 0.1, one matrix, one head
    """

    name: ClassVar[str] = "dp-attention"
    radius: float
    ridge: float | str | None
    draws: int
    delta: float

    def __post_init__(self) -> None:
        positive("radius", self.radius)
        public_bound("ridge", self.ridge)
        at_least_one("draws", self.draws)
        probability("delta", self.delta)

    @classmethod
    def calibrated(cls, *, epsilon: float, delta: float, radius: float, draws: int) -> "AttentionRelease":
        """Return the release with the least ridge that gives (epsilon, delta) at this radius."""
        largest = worst_case.radius(epsilon, delta, draws)
        ridge = (positive("radius", radius) / largest) ** 2
        return cls(radius=radius, ridge=ridge, draws=draws, delta=delta)

    @property
    def eta(self) -> float:
        """The ridge as a number."""
        return public_bound("ridge", self.ridge)

    @property
    def ratio(self) -> float:
        """`s = beta / sqrt(eta)`."""
        return self.radius / math.sqrt(self.eta)

    def spent(self) -> Spent:
        """Return what one release enters in a ledger."""
        return Spent(name=self.name, curve=worst_case.renyi(self.ratio, self.draws))

    def guarantee(self) -> Claim:
        """Return (epsilon, delta) at radius beta, for one matrix of one head."""
        return Claim(
            epsilon=worst_case.epsilon_of(self.ratio, self.draws, self.delta),
            delta=self.delta,
            unit="one token",
            neighbours=f"replace one row by another within {self.radius:g} of it",
            accountant="exact Wishart",
            scope=f"radius {self.radius:g}, one matrix, one head",
            status="proved",
        )

    def release(self, data: Array, randomness: Randomness, *, rows: int | None = None) -> Released[Array]:
        """Return the private estimate of `X X^T`, (..., n, n), or of its first rows.

        `g = X z + sqrt(eta) z'` with standard normal z has the covariance `X X^T + eta I`; no matrix is factored.

        Args:
            data: X (..., n, d); leading axes are separate data sets.
            randomness: source of the draws.
            rows: how many rows to compute, all by default; what is left out is published no less.

        Raises:
            BadInput: if the data is not finite.
        """
        finite("data", float(np.abs(data).max(initial=0.0)))
        *lead, n, d = data.shape
        inner = randomness.normal((*lead, d, self.draws))
        outer = randomness.normal((*lead, n, self.draws))
        g = data @ inner + math.sqrt(self.eta) * outer
        top = g[..., :rows, :]
        gram = top @ np.swapaxes(g, -1, -2) / self.draws - self.eta * np.eye(top.shape[-2], n)
        return released(gram, self.guarantee(), randomness)
