"""The surface: what an adversary can see. Choosing one states the threat model."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from typing_extensions import TypeVar

from unmask.errors import BadInput
from unmask.observation import Observation, Seen
from unmask.victim import Victim

DTYPES = ("float32", "float16", "bfloat16", "int8")


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is done to the tensors before anyone sees them: clip, add noise, prune, round, in this order.

    Args:
        dtype: number format of the release: float32, float16, bfloat16, or int8 with one scale per tensor.
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


VictimT = TypeVar("VictimT", contravariant=True, default=Victim)
ObservationT = TypeVar("ObservationT", bound=Seen, covariant=True, default=Observation)


@runtime_checkable
class Surface(Protocol[VictimT, ObservationT]):
    """Frozen settings and one method that turns a victim of one kind into an observation of one kind."""

    @property
    def name(self) -> str:
        """The registered name."""

    @property
    def release(self) -> Release:
        """What is done to the tensors before they are seen."""

    def with_release(self, release: Release) -> "Surface[VictimT, ObservationT]":
        """Return the same surface with another release."""

    def observe(self, victim: VictimT, generator: torch.Generator) -> ObservationT:
        """Return what the adversary sees of this victim.

        Args:
            victim: whose data is at risk.
            generator: randomness of the victim: dropout masks and noise.

        Raises:
            BadInput: if the victim gives nothing that could be attacked.
        """

    def rounding(self, victim: VictimT) -> float:
        """Return the relative residual of replaying the victim's own secret, which is a public decoy here.

        The victim's way of computing and the adversary's replay, which handles many guesses at once, round
        differently. Measured on inputs that the adversary drew, the difference says how far a true guess's
        replay may lie from what was seen, with nothing added by the release.

        Args:
            victim: a victim with a decoy for a secret.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenario:
    """A victim, of any kind, and what is seen of it."""

    victim: Any
    surface: Surface[Any, Seen]

    def observe(self, generator: torch.Generator) -> Seen:
        """Return what the adversary sees.

        Args:
            generator: randomness of the victim.

        Raises:
            BadInput: if the victim gives nothing that could be attacked.
        """
        return self.surface.observe(self.victim, generator)
