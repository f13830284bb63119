"""Gaussian noise on the token representations, once; all heads, layers and answers after it are free."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.privacy.budget import Spent
from unmask.privacy.checks import budget, finite, positive
from unmask.privacy.claim import Claim, Released, released
from unmask.privacy.noise import GaussianNoise, clip_rows
from unmask.privacy.sampling import Randomness

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TokenNoise:
    """Release `clip(x_t, B) + N(0, sigma^2 I)` for every token t.

    With a radius: neighbours move one row by at most beta, and clipping moves no two points apart, so the
    sensitivity is beta. Without: one row is replaced by anything, both are clipped to B, so it is 2B. The rows must be
    functions of their own token alone, such as embeddings: hidden states mix tokens, and one word changes them all.

    Args:
        epsilon: above 0.
        delta: in (0, 1).
        norm: B, a public bound to which rows are clipped, or None for no clipping.
        radius: beta, or None for replacement by any token.
        grid: step for the exact sampler, or None.
        width: d, needed with a grid.

    Raises:
        BadInput: if neither norm nor radius is given, or a value is out of range.

    Example:
        >>> round(TokenNoise(epsilon=1.0, delta=1e-5, radius=0.1).sigma, 4)
        0.3731
    """

    name: ClassVar[str] = "token-noise"
    epsilon: float
    delta: float
    norm: float | None = field(default=None)
    radius: float | None = field(default=None)
    grid: float | None = field(default=None)
    width: int | None = field(default=None)

    def __post_init__(self) -> None:
        budget(self.epsilon, self.delta)
        if self.norm is None and self.radius is None:
            raise BadInput("norm", None, "and radius are both missing, so nothing bounds a row", "give a public bound")
        for name, value in (("norm", self.norm), ("radius", self.radius)):
            if value is not None:
                positive(name, value)
        if self.grid is not None and self.width is None:
            raise BadInput("width", None, "is needed with a grid", "give the number of entries of a row")

    @property
    def sensitivity(self) -> float:
        """Largest L2 move of the released rows between neighbours: the less of radius and 2B."""
        bounds = [b for b in (self.radius, None if self.norm is None else 2 * self.norm) if b is not None]
        return min(bounds)

    @cached_property
    def noise(self) -> GaussianNoise:
        """The calibrated noise."""
        return GaussianNoise(
            epsilon=self.epsilon,
            delta=self.delta,
            sensitivity=self.sensitivity,
            entries=self.width or 1,
            grid=self.grid,
        )

    @property
    def sigma(self) -> float:
        """Standard deviation of each entry."""
        return self.noise.sigma

    def spent(self) -> Spent:
        """Return what one release enters in a ledger."""
        return self.noise.spent(self.name)

    def guarantee(self) -> Claim:
        """Return what holds for the rows and for everything computed from them."""
        other = "any other" if self.radius is None else f"another within {self.radius:g} of it"
        return Claim(
            epsilon=self.epsilon,
            delta=self.delta,
            unit="one token",
            neighbours=f"replace one row by {other}",
            accountant=self.noise.accountant,
            scope="one release, any use of it",
            status="proved",
            arithmetic=self.noise.arithmetic,
        )

    def release(self, data: Array, randomness: Randomness) -> Released[Array]:
        """Return the noisy rows.

        Args:
            data: (..., d), one row per token.
            randomness: source of the noise.

        Raises:
            BadInput: if the data is not finite, or not as wide as was said.
        """
        finite("data", float(np.abs(data).max(initial=0.0)))
        if self.width is not None and data.shape[-1] != self.width:
            raise BadInput("data", data.shape, f"has no rows of {self.width} entries", "state the true width")
        rows = data if self.norm is None else clip_rows(data, self.norm)
        return released(self.noise.add(rows, randomness), self.guarantee(), randomness)
