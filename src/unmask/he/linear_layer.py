"""The smallest circuit that is served: one affine map, y = W x + b, of one vector a ciphertext."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from unmask.errors import BadInput
from unmask.he.backend import Ciphertext, Evaluator
from unmask.he.linear_map import LinearMap
from unmask.he.parameters import Parameters
from unmask.he.servable import Progress, Run
from unmask.storage import replace, replace_bytes

Array = NDArray[np.float64]
VERSION = 1
KIND = "linear layer"
SHAPE, WEIGHTS = "package.json", "package.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLayer:
    """y = W x + b by diagonals in baby and giant steps: about 2 sqrt(d) rotations instead of d.

    The vector lies twice and a bit at the start of the slots, so that no rotation meets their end.

    Args:
        weight: (out, in).
        bias: (out,).
        parameters: with one level or more.
        interval: (low, high) that inputs have to lie in.
        classes: what the outputs stand for; may be empty.

    Raises:
        BadInput: if the shapes do not fit each other or the slots.
    """

    weight: Array
    bias: Array
    parameters: Parameters
    interval: tuple[float, float] = field(default=(-1.0, 1.0))
    classes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            rule = f"does not fit the bias of shape {self.bias.shape}"
            raise BadInput("weight", self.weight.shape, rule, "give (out, in) and (out,)")
        if 2 * self.dimension + self.babies > self.parameters.slots:
            rule = f"does not fit {self.parameters.slots} slots"
            raise BadInput("weight", self.weight.shape, rule, "take a larger ring")

    @property
    def dimension(self) -> int:
        """Entries of the longer side."""
        return max(self.weight.shape)

    @property
    def babies(self) -> int:
        """Inner steps: the power of two from sqrt(d) on, since they are cheaper than the outer ones."""
        return 2 ** math.ceil(math.log2(max(1.0, math.sqrt(self.dimension))))

    @property
    def digest(self) -> str:
        """See `Servable`."""
        content = hashlib.sha256(json.dumps([self.parameters.to_json(), list(self.interval)]).encode())
        for part in (self.weight, self.bias):
            content.update(repr(part.shape).encode() + np.ascontiguousarray(part, dtype="<f8").tobytes())
        return content.hexdigest()[:32]

    @property
    def rotations(self) -> tuple[int, ...]:
        """See `Servable`."""
        inner = set(range(1, min(self.babies, self.dimension)))
        return tuple(sorted(inner | set(range(self.babies, self.dimension, self.babies))))

    @property
    def inputs(self) -> int:
        """See `Servable`."""
        return 1

    @property
    def level(self) -> int:
        """See `Servable`."""
        return self.parameters.levels

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Queryable`: entries."""
        return self.weight.shape[1:]

    @property
    def memory(self) -> int:
        """See `Servable`: a library's base, keys of two polynomials in the whole modulus a digit, encoded diagonals."""
        p = self.parameters
        key = 2 * 2**p.ring * 8 * p.parts * math.ceil(p.modulus / p.scale)
        return 300 * 2**20 + (len(self.rotations) + 1) * key + (self.dimension + 8) * p.ciphertext_bytes(p.levels) // 2

    @property
    def seconds(self) -> float:
        """See `Servable`: a plain product takes about 10 ns a word of a ciphertext, a key switch 15 times as long."""
        words = self.parameters.ciphertext_bytes(self.level) / 8
        return 1e-8 * words * (self.dimension + 15 * len(self.rotations))

    def map(self) -> LinearMap:
        """Return the diagonals: entry i of diagonal k is W[i, i + k mod d]."""
        d, (out, width) = self.dimension, self.weight.shape
        padded = np.zeros((d, d))
        padded[:out, :width] = self.weight
        rows = np.arange(d)
        diagonals = {}
        for k in range(d):
            giant, baby = k - k % self.babies, k % self.babies
            values = padded[rows, (rows + k) % d]
            if values.any():
                vector = np.zeros(self.parameters.slots)
                vector[giant : giant + d] = values  # ahead by the giant step, which brings it back
                diagonals[giant, baby] = vector
        bias = np.concatenate([self.bias, np.zeros(self.parameters.slots - out)])
        return LinearMap(diagonals=diagonals or {(0, 0): np.zeros(self.parameters.slots)}, bias=bias)

    def open(self, evaluator: Evaluator) -> Run:
        """See `Servable`."""
        held = evaluator.prepare(self.map(), self.level)

        def run(ciphertexts: Sequence[Ciphertext], progress: Progress) -> Sequence[Ciphertext]:
            results = evaluator.linear(ciphertexts[0], [held])
            evaluator.wait()
            progress("linear", 1.0)
            return results

        return run

    def pack(self, inputs: Array) -> tuple[Array, ...]:
        """Return the vectors to encrypt, one for each row of inputs.

        Args:
            inputs: (count, in).

        Raises:
            BadInput: if the shape differs or a value is outside the interval.
        """
        width = self.weight.shape[1]
        if inputs.ndim != 2 or inputs.shape[1] != width:
            raise BadInput("inputs", inputs.shape, "have another shape", f"give (count, {width})")
        low, high = self.interval
        if not (np.isfinite(inputs).all() and inputs.min() >= low and inputs.max() <= high):
            worst = inputs.flat[int(np.argmax(np.abs(np.nan_to_num(inputs, nan=np.inf) - (low + high) / 2)))]
            raise BadInput("inputs", float(worst), f"is outside [{low:g}, {high:g}]", "scale or clip the inputs")
        once = np.zeros((len(inputs), self.dimension))
        once[:, :width] = inputs
        needed = 2 * self.dimension + self.babies
        return tuple(np.resize(row, needed) for row in once)

    def unpack(self, slots: Sequence[Array]) -> Array:
        """Return (count, out) of decrypted vectors."""
        return np.stack([vector[: len(self.bias)] for vector in slots])

    def clear(self, inputs: Array) -> Array:
        """Return (count, out) without encryption."""
        return inputs @ self.weight.T + self.bias

    def save(self, folder: Path) -> Path:
        """Write the package to a folder.

        Raises:
            StorageError: if it cannot be written.
        """
        shape = {"version": VERSION, "kind": KIND, "parameters": self.parameters.to_json()}
        shape |= {"interval": list(self.interval), "classes": list(self.classes), "digest": self.digest}
        tensors = {"weight": np.ascontiguousarray(self.weight), "bias": np.ascontiguousarray(self.bias)}
        replace_bytes(folder / WEIGHTS, save(tensors))
        replace(folder / SHAPE, json.dumps(shape, indent=1) + "\n")
        return folder

    @classmethod
    def load(cls, folder: Path) -> "LinearLayer":
        """Return what `save` wrote.

        Raises:
            BadInput: if it is missing, damaged or of another version.
        """
        try:
            shape = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
            tensors = load((folder / WEIGHTS).read_bytes())
            low, high = shape["interval"]
            made = cls(
                weight=tensors["weight"],
                bias=tensors["bias"],
                parameters=Parameters.from_json(shape["parameters"]),
                interval=(float(low), float(high)),
                classes=tuple(shape["classes"]),
            )
        except BadInput:
            raise
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadInput("package", str(folder), f"cannot be read ({error})", "make it again") from error
        if shape.get("version") != VERSION or shape.get("digest") != made.digest:
            raise BadInput("package", str(folder), "is damaged or of another version", "make it again")
        return made
