"""The published private release of an attention matrix, as a defence of the attention surface."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from unmask.defence import Guarantee
from unmask.defences.protected import activations_of
from unmask.surface import Scenario
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.released_attention import ReleasedAttentionSurface


@dataclass(frozen=True, kw_only=True)
class DpAttention:
    """Release one head's attention by Gaussian draws whose covariance is the private matrix.

    The guarantee is for one matrix of one head, and for tokens whose query and key rows move by at most the radius:
    a small move, not another word, unless the radius is large, and then the noise is larger than the signal by far. See
    docs/guarantees/attention-release.md; `token-noise` covers more for less.

    Args:
        epsilon: for one token.
        delta: for one token.
        radius: largest move of a token's query and of its key, over `d_h^(1/4)`, that is hidden; a public number.
        draws: number of Gaussian draws.

    Raises:
        BadInput: if a value is out of range.

    Example:
        >>> DpAttention(epsilon=1.0).guarantee(None).scope
        'one matrix, one head'
    """

    name: ClassVar[str] = "dp-attention"
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    radius: float = field(default=1.0)
    draws: int = field(default=1024)

    def __post_init__(self) -> None:
        self._surface(ActivationSurface())

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the scenario in which the released attention is seen.

        Args:
            scenario: one of activations.

        Raises:
            BadInput: if what is seen is no activation.
        """
        return replace(scenario, surface=self._surface(activations_of(scenario, self.name)))

    def guarantee(self, scenario: Scenario | None) -> Guarantee:
        """Return (epsilon, delta) for one token's rows in one matrix of one head.

        Args:
            scenario: not used: the guarantee does not depend on it.
        """
        return Guarantee(
            epsilon=self.epsilon,
            delta=self.delta,
            unit="one token",
            neighbours=f"replace one token whose query and key rows move by at most {self.radius:g} each",
            accountant="exact Wishart, two rows by group privacy",
            scope="one matrix, one head",
            status="proved",
        )

    def _surface(self, base: ActivationSurface) -> ReleasedAttentionSurface:
        return ReleasedAttentionSurface(
            base=base, epsilon=self.epsilon, delta=self.delta, radius=self.radius, draws=self.draws
        )
