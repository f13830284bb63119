"""The client's commands: make keys, encrypt, decrypt. A worker of the server has none of them."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import openfhe

from . import context

BATCH = 8
"""Rotation keys made, written and forgotten at a time: all at once would fill the memory."""


class KeyHolder:
    """Holds the secret key; one context."""

    def __init__(self) -> None:
        self._context: Any = None
        self._given: dict[str, Any] = {}
        self._public: Any = None
        self._secret: Any = None

    def commands(self) -> dict[str, Callable[..., Any]]:
        """Return the commands by name."""
        return {
            "generate": self.generate,
            "open": self.open,
            "encrypt": self.encrypt,
            "decrypt": self.decrypt,
        }

    def generate(self, header: dict[str, Any], blobs: list[Any]) -> Any:
        """Make all keys; write the public ones to files and return the secret one.

        Args:
            header: `parameters`, `rotations` as steps, `folder`.
            blobs: none.
        """
        self._given, folder = header["parameters"], header["folder"]
        self._context = context.make(self._given, "keys")
        pair = self._context.KeyGen()
        self._public, self._secret = pair.publicKey, pair.secretKey
        files = {"public.key": openfhe.Serialize(self._public, openfhe.BINARY)}
        self._context.EvalMultKeyGen(self._secret)
        files["relinearisation.key"] = openfhe.SerializeEvalMultKeyString(openfhe.BINARY, "")
        names = []
        for name, content in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
            names.append(name)
        steps = header["rotations"]
        if self._given["budget"] is not None:
            self._context.EvalBootstrapKeyGen(self._secret, self._context.GetRingDimension() // 2)
            steps = self._lacking(steps)
            names.append(self._written(folder, "bootstrap.key"))
        for start in range(0, len(steps), BATCH):
            self._context.EvalRotateKeyGen(self._secret, steps[start : start + BATCH])
            names.append(self._written(folder, f"rotations-{start // BATCH:03d}.key"))
        return {"files": names}, [openfhe.Serialize(self._secret, openfhe.BINARY)]

    def _lacking(self, steps: list[int]) -> list[int]:
        """Return the steps without a key: those of a bootstrap serve for every rotation."""
        have = set(self._context.GetExistingEvalAutomorphismKeyIndices(self._secret.GetKeyTag()))
        order = self._context.GetCyclotomicOrder()
        # Slots turn by one when X goes to X^5.
        return [step for step in steps if pow(5, step, order) not in have]

    def _written(self, folder: str, name: str) -> str:
        path = os.path.join(folder, name)
        if not self._context.SerializeEvalAutomorphismKey(path, openfhe.BINARY):
            raise OSError(f"{path} could not be written")
        openfhe.CryptoContext.ClearEvalAutomorphismKeys()
        return name

    def open(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Take the secret and the public key.

        Args:
            header: `parameters`.
            blobs: secret key, public key.
        """
        self._given = header["parameters"]
        self._context = context.make(self._given)
        self._secret = openfhe.DeserializePrivateKeyString(blobs[0], openfhe.BINARY)
        self._public = openfhe.DeserializePublicKeyString(blobs[1], openfhe.BINARY)

    def encrypt(self, header: dict[str, Any], blobs: list[Any]) -> Any:
        """Return one encrypted vector as bytes.

        Args:
            header: `level`.
            blobs: the vector, one entry a slot.
        """
        dropped = self._given["levels"] - header["level"]
        plain = self._context.MakeCKKSPackedPlaintext(blobs[0], 1, dropped, None, len(blobs[0]))
        ciphertext = self._context.Encrypt(self._public, plain)
        return {}, [openfhe.Serialize(ciphertext, openfhe.BINARY)]

    def decrypt(self, header: dict[str, Any], blobs: list[Any]) -> Any:
        """Return the vector of a ciphertext.

        Args:
            header: empty.
            blobs: the ciphertext.
        """
        ciphertext = openfhe.DeserializeCiphertextString(blobs[0], openfhe.BINARY)
        plain = self._context.Decrypt(self._secret, ciphertext)
        plain.SetLength(self._context.GetRingDimension() // 2)
        return {}, [np.asarray(plain.GetRealPackedValueArray(), dtype=np.float64)]
