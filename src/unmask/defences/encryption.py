"""Encrypt what a server computes on, so that it holds ciphertexts in place of activations."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from unmask.defence import Guarantee
from unmask.defences.encrypted_activations import EncryptedActivations
from unmask.errors import BadInput
from unmask.surface import Scenario
from unmask.surfaces.image_activation import ImageActivationSurface


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """Put a ciphertext in the place of each activation of a polynomial network, as `unmask he serve` computes.

    It closes what the server sees while it computes. It does nothing for the weights, nor for outputs
    that the key's owner decrypts and hands on.

    Args:
        backend: of the encryption.

    Example:
        >>> Encryption().name
        'encryption'
    """

    name: ClassVar[str] = "encryption"
    backend: str = field(default="openfhe")

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the scenario in which ciphertexts are seen.

        Raises:
            BadInput: if what is seen are no activations of images.
        """
        if not isinstance(scenario.surface, ImageActivationSurface):
            rule = f"does not protect {scenario.surface.name}"
            raise BadInput("--defence", self.name, rule, "use --surface attention with a model of images")
        surface = EncryptedActivations(base=scenario.surface, backend=self.backend)
        return replace(scenario, surface=surface)

    def guarantee(self, scenario: Scenario) -> Guarantee:
        """Return the security of the parameters: it rests on an assumption, and is no differential privacy."""
        return Guarantee(
            security="128 bits against a classical, honest-but-curious server without the key, under ring-LWE",
            scope="activations of encrypted inference",
        )
