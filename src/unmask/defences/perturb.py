"""Perturb what is released: round, add noise, clip, prune. Nothing is proved about it."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from unmask.defence import Guarantee
from unmask.surface import Release, Scenario


@dataclass(frozen=True, kw_only=True)
class Perturb:
    """Release less exact tensors; see `unmask.surface.Release` for what the settings do and their order.

    The noise is not calibrated to any sensitivity, so it gives no privacy guarantee: an audit with
    and without it is all that can be said.

    Args:
        dtype: number format of the release.
        noise: standard deviation of the noise, relative to the norm of the whole release.
        clip: norm to which a longer release is scaled down, or None.
        prune: share of smallest entries set to zero.

    Example:
        >>> str(Perturb(noise=0.01).guarantee(scenario))  # doctest: +SKIP
        'none: empirical only'
    """

    name: ClassVar[str] = "perturb"
    dtype: str = field(default="float32")
    noise: float = field(default=0.0)
    clip: float | None = field(default=None)
    prune: float = field(default=0.0)

    def __post_init__(self) -> None:
        self._release()

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the scenario with this release in place of its own."""
        return replace(scenario, surface=scenario.surface.with_release(self._release()))

    def guarantee(self, scenario: Scenario) -> Guarantee:
        """Return that nothing is guaranteed."""
        return Guarantee()

    def _release(self) -> Release:
        return Release(dtype=self.dtype, noise=self.noise, clip=self.clip, prune=self.prune)
