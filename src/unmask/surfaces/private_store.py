"""A private text as a store of records behind a private mechanism: noisy answers, or one noisy state."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.privacy.mechanisms.linear_state import LinearState
from unmask.privacy.mechanisms.noisy_read import NoisyRead
from unmask.shared import StoreKnowledge, StoreReads
from unmask.surfaces.behind import Behind
from unmask.surfaces.private import seeded
from unmask.surfaces.store import StoreSurface, public_queries, shown, stored
from unmask.victim import Victim

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NoisyReadSurface(Behind):
    """Sums that noisy answers are computed from: `(sum_i w_ij v_i, V sum_i w_ij) + noise` for each query j.

    The answer itself is `N / max(Z, n e^-c)`, a function of the two, so that the adversary sees all that an
    answer tells and more, and the guarantee covers it.

    Args:
        base: which head, and how many queries there are to be paid for.
        epsilon: of all queries together.
        delta: of all queries together.
        score_bound: c, to which scores are clipped.
        value_norm: V, to which values are clipped.

    Raises:
        BadInput: if a value is out of range.
    """

    name: ClassVar[str] = "noisy-store"
    base: StoreSurface = field(default=StoreSurface())
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    score_bound: float = field(default=1.0)
    value_norm: float = field(default=1.0)

    def __post_init__(self) -> None:
        self.mechanism(1)

    def mechanism(self, width: int) -> NoisyRead:
        """Return the mechanism for keys of a width.

        Args:
            width: d_h.
        """
        return NoisyRead(
            epsilon=self.epsilon,
            delta=self.delta,
            queries=self.base.queries,
            score_bound=self.score_bound,
            value_norm=self.value_norm,
            scale=1 / math.sqrt(width),
        )

    def observe(self, victim: Victim, generator: torch.Generator) -> StoreReads:
        """Return the noisy sums (Q, w + 1), by the name of the head's output.

        Args:
            victim: whose text is the store.
            generator: randomness of the noise, which is therefore void, and of the release.

        Raises:
            BadInput: as the base surface.
            NoSignal: if every entry is zero.
        """
        site, store = stored(self.base, victim)
        asked = public_queries(self.base, victim.model, site)
        mechanism = self.mechanism(asked.shape[1])
        rows = mechanism.sums(store, seeded(generator), queries=asked).value

        def codes(keys: Tensor) -> Tensor:
            return torch.from_numpy(mechanism.weights(keys.numpy(), asked)).movedim(-2, -1)

        knowledge = StoreKnowledge(
            length=len(store.keys),
            queries=torch.from_numpy(asked),
            scale=mechanism.scale,
            codes=codes,
            value_norm=self.value_norm,
            deviation=mechanism.noise.sigma,
            mechanism=f"Scores are clipped to {self.score_bound:g} and values to norm {self.value_norm:g}; every sum "
            f"over the records carries Gaussian noise of deviation {mechanism.noise.sigma:.4g}.",
        )
        return shown(self.base, victim.model, site, torch.from_numpy(rows), knowledge, generator)


@dataclass(frozen=True, kw_only=True)
class LinearStateSurface(Behind):
    """A state of linear attention, released once: `sum_i phi(k_i) (v_i, V) + noise`.

    Args:
        base: which head; its queries are not counted, any number may be asked.
        epsilon: of the release.
        delta: of the release.
        features: m, positive random features.
        key_norm: R, to which keys over `d_h^(1/4)` are clipped.
        value_norm: V, to which values are clipped.

    Raises:
        BadInput: if a value is out of range.
    """

    name: ClassVar[str] = "store-state"
    base: StoreSurface = field(default=StoreSurface())
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    features: int = field(default=64)
    key_norm: float = field(default=1.0)
    value_norm: float = field(default=1.0)

    def __post_init__(self) -> None:
        self.mechanism(1)

    def mechanism(self, width: int) -> LinearState:
        """Return the mechanism for keys of a width.

        Args:
            width: d_h.
        """
        return LinearState(
            epsilon=self.epsilon,
            delta=self.delta,
            width=width,
            features=self.features,
            key_norm=self.key_norm,
            value_norm=self.value_norm,
        )

    def observe(self, victim: Victim, generator: torch.Generator) -> StoreReads:
        """Return the noisy state (m, w + 1), by the name of the head's output.

        Args:
            victim: whose text is the store.
            generator: randomness of the noise, which is therefore void, and of the release.

        Raises:
            BadInput: as the base surface.
            NoSignal: if every entry is zero.
        """
        site, store = stored(self.base, victim)
        width = store.keys.shape[1]
        mechanism, shrink = self.mechanism(width), width**-0.25
        state = mechanism.release(replace(store, keys=store.keys * shrink), seeded(generator)).value
        rows = np.concatenate([state.top, self.value_norm * state.below[:, None]], 1)

        def codes(keys: Tensor) -> Tensor:
            return torch.from_numpy(mechanism.features_of(keys.numpy() * shrink))

        knowledge = StoreKnowledge(
            length=len(store.keys),
            queries=torch.zeros(0, width),
            scale=shrink**2,
            codes=codes,
            value_norm=self.value_norm,
            deviation=mechanism.noise.sigma,
            mechanism=f"It sees a state of {self.features} public random features of the keys, clipped to norm "
            f"{self.key_norm:g}, times values clipped to norm {self.value_norm:g}, summed over the text; every entry "
            f"carries Gaussian noise of deviation {mechanism.noise.sigma:.4g}.",
        )
        return shown(self.base, victim.model, site, torch.from_numpy(rows), knowledge, generator)
