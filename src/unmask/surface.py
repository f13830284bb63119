"""The surface: what an adversary can see. Choosing one states the threat model."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch

from unmask.errors import BadInput
from unmask.observation import Observation
from unmask.victim import Victim

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is done to the tensors before anyone sees them: clip, add noise, prune, round, in this order.

    Args:
        dtype: number format of the release: float32, float16 or bfloat16.
        noise: norm of the Gaussian noise divided by the norm of the whole release after clipping;
            each of N entries gets a standard deviation of `noise * norm / sqrt(N)`.
        clip: norm to which a longer release is scaled down, or None.
        prune: share of the entries, in [0, 1), set to zero: the smallest of the whole release.

    Raises:
        BadInput: if a value is out of its range.

    Example:
        >>> Release(dtype="bfloat16").prune
        0.0
    """

    dtype: str = field(default="float32")
    noise: float = field(default=0.0)
    clip: float | None = field(default=None)
    prune: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadInput("--dtype", self.dtype, "is no number format of a release", f"choose {', '.join(DTYPES)}")
        if not 0 <= self.noise < float("inf"):
            raise BadInput(
                "--noise", self.noise, "is negative or not finite", "give a share of the norm, such as 0.001"
            )
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise BadInput("--clip", self.clip, "is no positive norm", "give one, such as 1.0, or leave it out")
        if not 0 <= self.prune < 1:
            raise BadInput("--prune", self.prune, "is no share in [0, 1)", "give one, such as 0.9")


@runtime_checkable
class Surface(Protocol):
    """Frozen settings and one method that turns a victim into an observation."""

    @property
    def name(self) -> str:
        """The registered name."""

    @property
    def release(self) -> Release:
        """What is done to the tensors before they are seen."""

    def with_release(self, release: Release) -> "Surface":
        """Return the same surface with another release."""

    def observe(self, victim: Victim, generator: torch.Generator) -> Observation:
        """Return what the adversary sees of this victim.

        Args:
            victim: whose data is at risk.
            generator: randomness of the victim: dropout masks and noise.

        Raises:
            BadInput: if the victim gives nothing that could be attacked.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenario:
    """A victim and what is seen of it."""

    victim: Victim
    surface: Surface

    def observe(self, generator: torch.Generator) -> Observation:
        """Return what the adversary sees.

        Args:
            generator: randomness of the victim.

        Raises:
            BadInput: if the victim gives nothing that could be attacked.
        """
        return self.surface.observe(self.victim, generator)
