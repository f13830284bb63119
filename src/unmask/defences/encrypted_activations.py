"""What a server of encrypted inference holds in place of numbers: ciphertexts, read as numbers all the same."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.he.backend import KeyHolder
from unmask.he.library import library
from unmask.he.parameters import Parameters
from unmask.observation import Activations
from unmask.surfaces.behind import Behind
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.vision import ImageVictim, VisionModel

PARAMETERS = Parameters(ring=14, levels=4, scale=45)
"""A small ring at 128 bits of security: what a ciphertext shows does not depend on how many levels it has."""


@dataclass(frozen=True, kw_only=True)
class EncryptedActivations(Behind):
    """Encrypts each tensor under fresh keys and shows the adversary the ciphertext, as numbers of the same shape.

    The server knows the model, the shapes and the public keys. The low 32 bits of the ciphertext's
    64-bit words, of variance one and mean zero, stand where the activation stood: whatever can read
    activations can be run on them, and has to do no better than on the ciphertext of another image.

    Args:
        base: which activations, if they were not encrypted.
        backend: of the encryption; the simulator hides nothing and is refused.

    Raises:
        BadInput: if the backend does not encrypt, or the base shows anything but whole, exact rows.

    Example:
        >>> EncryptedActivations().backend
        'openfhe'
    """

    name: ClassVar[str] = "ciphertexts"
    base: ImageActivationSurface = field(default=ImageActivationSurface())
    backend: str = field(default="openfhe")

    def __post_init__(self) -> None:
        if self.backend == "simulator":
            raise BadInput("backend", self.backend, "hides nothing", "use openfhe: unmask he setup")
        if self.base != ImageActivationSurface(select=self.base.select):
            rule = "shows rows that are missing, permuted or released otherwise than exactly"
            raise BadInput("base", self.base.name, rule, "encrypt exact activations")

    def observe(self, victim: ImageVictim, generator: torch.Generator) -> Activations[VisionModel]:
        """Return numbers read from the ciphertexts of the selected activations, by site name.

        Args:
            victim: whose image passes through the model.
            generator: of the base surface; keys and encryption draw from the system's entropy.

        Raises:
            BadInput: as the base surface.
            MissingExtra: if the encryption library is not set up.
        """
        seen = self.base.observe(victim, generator)
        with _holder(self.backend) as holder:
            tensors = {name: shown(holder, tensor) for name, tensor in seen.tensors.items()}
        said = "Each tensor is a CKKS ciphertext at 128 bits of security under a key that the adversary lacks."
        return replace(seen, tensors=tensors, knowledge=replace(seen.knowledge, mechanism=said))


def shown(holder: KeyHolder, tensor: Tensor) -> Tensor:
    """Return numbers of a tensor's shape, read from its ciphertexts.

    Args:
        holder: encrypts.
        tensor: any shape; filled into as many ciphertexts as it needs.
    """
    flat, slots = tensor.detach().double().flatten().numpy(), holder.parameters.slots
    sealed = [holder.encrypt(flat[start : start + slots]) for start in range(0, len(flat), slots)]
    parts = [numbers(content, min(slots, len(flat) - k * slots)) for k, content in enumerate(sealed)]
    return torch.from_numpy(np.concatenate(parts)).to(tensor.dtype).reshape(tensor.shape)


def numbers(content: bytes, count: int) -> np.ndarray:
    """Return the low halves of the last `count` 64-bit words, scaled to mean zero and variance one if uniform.

    Args:
        content: a serialised ciphertext; its header stands at the front, a digest of 32 bytes at the end.
        count: how many numbers are wanted.

    Raises:
        BadInput: if it is too short.
    """
    words = np.frombuffer(content[(len(content) % 8) :], "<u8")[:-8]
    if len(words) < count:
        raise BadInput("ciphertext", len(content), f"bytes are too short for {count} numbers", "encrypt fewer at once")
    low = (words[-count:] & np.uint64(0xFFFFFFFF)).astype(np.float64) / 2.0**32
    return (low - 0.5) * 12.0**0.5


@contextmanager
def _holder(backend: str) -> Iterator[KeyHolder]:
    made = library(backend)
    with tempfile.TemporaryDirectory() as folder:
        made.make(Path(folder) / "keys", PARAMETERS, ())
        holder, closing = made.key_holder(Path(folder) / "keys")
        try:
            yield holder
        finally:
            closing.close()
