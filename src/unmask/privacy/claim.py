"""What a mechanism claims, and a release that carries its claim."""

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from unmask.errors import BadInput
from unmask.privacy.sampling import Randomness

T = TypeVar("T")
STATUSES = ("claimed", "tested", "proved")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """(epsilon, delta) with everything without which it means nothing.

    Args:
        epsilon: differential privacy's epsilon.
        delta: differential privacy's delta.
        unit: whose data is protected, such as `one record`.
        neighbours: which data must look alike, such as `replace one record`.
        accountant: how epsilon was computed.
        scope: what one such release covers, such as `one matrix, one head`.
        status: `claimed`, `tested` (an audit tried to refute it) or `proved` (see docs/guarantees).
        arithmetic: `real` if the proof needs exact real numbers, `exact` if it covers what is computed.
        void: whether the noise was seeded, so that nothing is claimed.

    Raises:
        BadInput: if a text is missing or the status is unknown.

    Example:
        >>> one = dict(unit="one record", neighbours="replace one record", accountant="analytic Gaussian")
        >>> print(Claim(epsilon=1.0, delta=1e-5, **one))
        epsilon 1, delta 1e-05 per one record (replace one record), analytic Gaussian accountant [claimed]
    """

    epsilon: float
    delta: float
    unit: str
    neighbours: str
    accountant: str
    scope: str = field(default="")
    status: str = field(default="claimed")
    arithmetic: str = field(default="real")
    void: bool = field(default=False)

    def __post_init__(self) -> None:
        if not (self.unit and self.neighbours and self.accountant):
            rule = "comes without unit, neighbours or accountant"
            raise BadInput("epsilon", self.epsilon, rule, "state all of them: epsilon alone means nothing")
        if self.status not in STATUSES:
            raise BadInput("status", self.status, "is unknown", f"choose {', '.join(STATUSES)}")

    def __str__(self) -> str:
        covers = f", {self.scope}" if self.scope else ""
        text = (
            f"epsilon {self.epsilon:g}, delta {self.delta:g} per {self.unit} ({self.neighbours}){covers}, "
            f"{self.accountant} accountant [{self.status}]"
        )
        return f"VOID, the noise was seeded: {text}" if self.void else text


@dataclass(frozen=True, kw_only=True, eq=False)
class Released(Generic[T]):
    """What may be published, with what is claimed about it.

    Args:
        value: the release.
        claim: void if the randomness was seeded.
    """

    value: T
    claim: Claim


def released(value: T, claim: Claim, randomness: Randomness) -> Released[T]:
    """Return a release whose claim is void if the randomness is."""
    return Released(value=value, claim=replace(claim, void=claim.void or randomness.void))
