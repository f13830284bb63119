"""A noisy attention read and a private linear-attention state, as defences of the store surface."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar

from unmask.defence import Guarantee
from unmask.defences.guaranteed import guaranteed
from unmask.errors import BadInput
from unmask.privacy.claim import Claim
from unmask.surface import Scenario
from unmask.surfaces.private_store import LinearStateSurface, NoisyReadSurface
from unmask.surfaces.store import StoreSurface

UNIT = "one record of the store, here one token"


class _OfStore(ABC):
    """Puts a private surface in front of a store: a dataclass that inherits from it declares its settings."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        self._surface(StoreSurface())

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the scenario in which only what the mechanism releases is seen.

        Args:
            scenario: one of a store.

        Raises:
            BadInput: if what is seen is no store.
        """
        return replace(scenario, surface=self._surface(_store(scenario, self.name)))

    @abstractmethod
    def _surface(self, base: StoreSurface) -> NoisyReadSurface | LinearStateSurface:
        """Return what is seen of a store."""


@dataclass(frozen=True, kw_only=True)
class NoisyReads(_OfStore):
    """Answer queries over a store by clipped scores and values with Gaussian noise, composed over all queries.

    See docs/guarantees/noisy-read.md. One text's tokens are a small store: the noise is larger than the answer,
    and says so. It pays from thousands of records on.

    Args:
        epsilon: of all queries together.
        delta: of all queries together.
        score_bound: c, public bound of the scores.
        value_norm: V, public bound of the values' norms.

    Raises:
        BadInput: if a value is out of range.

    Example:
        >>> NoisyReads(epsilon=2.0).guarantee(None).unit
        'one record of the store, here one token'
    """

    name: ClassVar[str] = "noisy-read"
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    score_bound: float = field(default=1.0)
    value_norm: float = field(default=1.0)

    def guarantee(self, scenario: Scenario | None) -> Guarantee:
        """Return (epsilon, delta) of one record for all queries of the scenario, of the default number without one.

        Args:
            scenario: one of a store.
        """
        base = StoreSurface() if scenario is None else _store(scenario, self.name)
        return _stated(self._surface(base).mechanism(1).guarantee(), "; one head")

    def _surface(self, base: StoreSurface) -> NoisyReadSurface:
        return NoisyReadSurface(
            base=base,
            epsilon=self.epsilon,
            delta=self.delta,
            score_bound=self.score_bound,
            value_norm=self.value_norm,
        )


@dataclass(frozen=True, kw_only=True)
class LinearStates(_OfStore):
    """Release a noisy state of linear attention once; queries after it are free.

    See docs/guarantees/linear-state.md.

    Args:
        epsilon: of the release.
        delta: of the release.
        features: m, number of positive random features.
        key_norm: R, public bound of the keys' norms.
        value_norm: V, public bound of the values' norms.

    Raises:
        BadInput: if a value is out of range.

    Example:
        >>> LinearStates(epsilon=2.0).guarantee(None).scope
        'one release, unlimited queries; one head'
    """

    name: ClassVar[str] = "linear-state"
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    features: int = field(default=64)
    key_norm: float = field(default=1.0)
    value_norm: float = field(default=1.0)

    def guarantee(self, scenario: Scenario | None) -> Guarantee:
        """Return (epsilon, delta) of one record for the state and everything that is read from it.

        Args:
            scenario: not used: the guarantee does not depend on it.
        """
        return _stated(self._surface(StoreSurface()).mechanism(1).guarantee(), "; one head")

    def _surface(self, base: StoreSurface) -> LinearStateSurface:
        return LinearStateSurface(
            base=base,
            epsilon=self.epsilon,
            delta=self.delta,
            features=self.features,
            key_norm=self.key_norm,
            value_norm=self.value_norm,
        )


def _store(scenario: Scenario, name: str) -> StoreSurface:
    if not isinstance(scenario.surface, StoreSurface):
        raise BadInput("--defence", name, f"does not protect {scenario.surface.name}", "use --surface store")
    return scenario.surface


def _stated(claim: Claim, more: str) -> Guarantee:
    return guaranteed(replace(claim, unit=UNIT, scope=f"{claim.scope}{more}"))
