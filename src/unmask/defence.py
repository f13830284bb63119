"""The defence: a safer scenario, and what is guaranteed about it."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from unmask.errors import BadInput
from unmask.surface import Scenario

EMPIRICAL = "none: empirical only"


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """What holds against every adversary of the stated kind: (epsilon, delta), or security bits, or nothing.

    Args:
        epsilon: differential privacy's epsilon, or None.
        delta: differential privacy's delta, or None.
        unit: whose data is protected, such as `sequence`; empty if nothing is guaranteed.
        neighbours: which data sets must look alike, such as `add or remove one`; empty as above.
        accountant: how epsilon was composed; empty as above.
        security: bits of security of an encryption, such as `128 bits`, or `none: empirical only`.
        scope: what one such release covers, such as `one matrix, one head`.
        status: `claimed`, `tested` (an audit tried to refute it) or `proved` (see docs/guarantees).
        arithmetic: `real` if the proof needs exact real numbers, which floats are not; `exact` if it covers what is
            computed; `whole-number` if it does from the gradients on, which are floats.
        void: whether the noise was seeded, so that whoever has the seed subtracts it and nothing holds.

    Raises:
        BadInput: if epsilon comes without delta, unit, neighbouring relation or accountant.

    Example:
        >>> str(Guarantee())
        'none: empirical only'
    """

    epsilon: float | None = field(default=None)
    delta: float | None = field(default=None)
    unit: str = field(default="")
    neighbours: str = field(default="")
    accountant: str = field(default="")
    security: str = field(default=EMPIRICAL)
    scope: str = field(default="")
    status: str = field(default="claimed")
    arithmetic: str = field(default="real")
    void: bool = field(default=False)

    def __post_init__(self) -> None:
        if self.epsilon is not None and (self.delta is None or not (self.unit and self.neighbours and self.accountant)):
            rule = "comes without delta, unit, neighbours or accountant"
            raise BadInput("epsilon", self.epsilon, rule, "state all of them: epsilon alone means nothing")

    def __str__(self) -> str:
        if self.epsilon is None:
            return self.security
        covers = f", {self.scope}" if self.scope else ""
        text = (
            f"epsilon {self.epsilon:g}, delta {self.delta:g} per {self.unit} ({self.neighbours}){covers}, "
            f"{self.accountant} accountant [{self.status}, {self.arithmetic} arithmetic]"
        )
        return f"VOID, the noise was seeded: {text}" if self.void else text


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A defence's name with what it guarantees, as it stands in a run's folder.

    Args:
        name: the registered name.
        guarantee: what holds; void where the run drew the noise from its seed.
    """

    name: str
    guarantee: Guarantee

    def __str__(self) -> str:
        return f"{self.name}: {self.guarantee}"


@runtime_checkable
class Defence(Protocol):
    """Frozen settings that map a scenario to a safer one and state what that guarantees."""

    @property
    def name(self) -> str:
        """The registered name."""

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the defended scenario; the given one stays as it is."""

    def guarantee(self, scenario: Scenario) -> Guarantee:
        """Return what holds for the defended scenario."""
