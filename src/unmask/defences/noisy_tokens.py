"""Gaussian noise on token embeddings, before the model reads them, as a defence of the attention surface."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from unmask.defence import Guarantee
from unmask.defences.guaranteed import guaranteed
from unmask.defences.protected import activations_of
from unmask.privacy.mechanisms.token_noise import TokenNoise
from unmask.surface import Scenario
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.noisy_tokens import NoisyTokenSurface


@dataclass(frozen=True, kw_only=True)
class NoisyTokens:
    """Add noise to every token's embedding once; all heads, layers and answers after it are free.

    Without a radius any token is hidden among all of the model's public table, whose longest row is the bound:
    the noise is then larger than the embeddings, and the model reads little.

    Args:
        epsilon: for one token.
        delta: for one token.
        radius: largest move of an embedding that is hidden, or None for any token by any other.

    Raises:
        BadInput: if a value is out of range.

    Example:
        >>> NoisyTokens(epsilon=8.0).guarantee(None).unit
        'one token'
    """

    name: ClassVar[str] = "token-noise"
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    radius: float | None = field(default=None)

    def __post_init__(self) -> None:
        self._surface(ActivationSurface())

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the scenario in which the model reads noisy tokens.

        Args:
            scenario: one of activations.

        Raises:
            BadInput: if what is seen is no activation.
        """
        return replace(scenario, surface=self._surface(activations_of(scenario, self.name)))

    def guarantee(self, scenario: Scenario | None) -> Guarantee:
        """Return (epsilon, delta) for one token and everything that is computed from the noisy tokens.

        Args:
            scenario: not used: the guarantee does not depend on it.
        """
        # The bound decides how much noise it takes, not what holds.
        claim = TokenNoise(epsilon=self.epsilon, delta=self.delta, radius=self.radius, norm=1.0).guarantee()
        return guaranteed(claim)

    def _surface(self, base: ActivationSurface) -> NoisyTokenSurface:
        return NoisyTokenSurface(base=base, epsilon=self.epsilon, delta=self.delta, radius=self.radius)
