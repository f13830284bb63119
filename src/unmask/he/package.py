"""A compiled network as a folder: `package.json` with the circuit, `package.safetensors` with its vectors."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from unmask.errors import BadInput
from unmask.he.linear_map import LinearMap
from unmask.he.packing import Array, Packing
from unmask.he.parameters import Parameters
from unmask.he.program import Program, Sketch, Step
from unmask.poly.network import Pooling
from unmask.storage import replace, replace_bytes

VERSION = 1
CIRCUIT, VECTORS = "package.json", "package.safetensors"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the client needs to prepare an input and to read the answer.

    Args:
        features: numbers of one token.
        interval: least and largest value of an input that the polynomials were fitted for, or None if unknown.
        rows: features of each group of results.
        groups: groups of results in one ciphertext.
        results: how many results a token has.
        pooling: which tokens hold the answer.
        classes: what the results stand for; may be empty.
    """

    features: int
    interval: tuple[float, float] | None
    rows: int
    groups: int
    results: int
    pooling: Pooling
    classes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True, eq=False)
class Package:
    """A circuit, its weights, and how to pack and read.

    Args:
        program: the steps, with levels.
        packing: the axes of a ciphertext.
        parameters: of the encryption.
        reading: for the client.
        tensors: `NAME.weight` (diagonals, ...), `NAME.bias` and vectors, which broadcast to the packing's axes.
        streamed: names of maps whose vectors are encoded when they are used, to save memory.
        meta: for people: the network's own, and what was planned.
    """

    program: Program
    packing: Packing
    parameters: Parameters
    reading: Reading
    tensors: Mapping[str, Array]
    streamed: frozenset[str] = field(default=frozenset())
    meta: dict[str, object] = field(default_factory=dict)

    def linear_map(self, name: str) -> LinearMap:
        """Return a linear map with its vectors at full length."""
        pairs, stack = self.program.maps[name].pairs, self.tensors[f"{name}.weight"]
        full = {}
        for (giant, baby), weights in zip(pairs, stack, strict=True):
            # The inner sum is rotated by the giant step, so that its weights lie that far ahead.
            full[giant, baby] = np.roll(self.packing.vector(weights.astype(np.float64)), giant)
        bias = self.vector(f"{name}.bias") if self.program.maps[name].biased else None
        return LinearMap(diagonals=full, bias=bias)

    def vector(self, name: str) -> Array:
        """Return a vector at full length."""
        return self.packing.vector(self.tensors[name].astype(np.float64))

    def pack(self, inputs: Array) -> list[Array]:
        """Return the vectors to encrypt, one for every `packing.batch` inputs.

        Args:
            inputs: (count, tokens, features).

        Raises:
            BadInput: if they have another shape, or leave the range that the network was fitted for.
        """
        if inputs.ndim != 3 or inputs.shape[1:] != (self.packing.tokens, self.reading.features):
            rule = f"are not of shape (count, {self.packing.tokens}, {self.reading.features})"
            raise BadInput("inputs", inputs.shape, rule, "prepare them as in training")
        low, high = self.reading.interval or (-np.inf, np.inf)
        ends = float(inputs.min(initial=np.inf)), float(inputs.max(initial=-np.inf))
        if not np.isfinite(inputs).all() or not (low <= ends[0] and ends[1] <= high):
            rule = f"leave the fitted range {low:.4g} to {high:.4g}"
            raise BadInput("inputs", ends, rule, "prepare them as in training; polynomials explode outside")
        size = self.packing.batch
        return [self.packing.pack(inputs[start : start + size]) for start in range(0, len(inputs), size)]

    def unpack(self, slots: Sequence[Array]) -> Array:
        """Return the logits of one answer: (batch, results), or (batch, tokens, results) if each token has some.

        Args:
            slots: the decrypted vectors, one for each output of the program.
        """
        reading = self.reading
        parts = [self.packing.unpack(vector, reading.rows, reading.groups) for vector in slots]
        logits = np.concatenate(parts, axis=-1)[..., : reading.results]
        if reading.pooling == "all":
            return logits
        return logits[:, -1 if reading.pooling == "last" and reading.groups > 1 else 0]


def save_package(package: Package, folder: Path) -> Path:
    """Write a package to a folder, which is made if it is missing; return it.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    program = package.program
    maps = {name: {"pairs": sketch.pairs, "biased": sketch.biased} for name, sketch in program.maps.items()}
    shape: dict[str, Any] = {"version": VERSION, "parameters": package.parameters.to_json()}
    shape |= {"packing": package.packing.to_json(), "reading": vars(package.reading), "meta": package.meta}
    shape |= {"inputs": program.inputs, "outputs": program.outputs, "streamed": sorted(package.streamed)}
    shape |= {"maps": maps, "steps": [step.to_json() for step in program.steps]}
    packed = {name: np.ascontiguousarray(tensor, dtype=np.float64) for name, tensor in package.tensors.items()}
    replace_bytes(folder / VECTORS, save(packed))
    replace(folder / CIRCUIT, json.dumps(shape, allow_nan=False))
    return folder


def load_package(folder: Path, *, weights: bool = True) -> Package:
    """Return the package that a folder holds.

    Args:
        folder: where `save_package` wrote.
        weights: whether to read the vectors; a client does without.

    Raises:
        BadInput: if the folder holds none, one of another version, or a broken one.
    """
    try:
        shape = json.loads((folder / CIRCUIT).read_text(encoding="utf-8"))
        tensors = dict(load((folder / VECTORS).read_bytes())) if weights else {}
    except (OSError, ValueError, SafetensorError) as error:
        rule = f"holds no package ({error})"
        raise BadInput("package", str(folder), rule, "make one with `unmask he compile`") from error
    if shape.get("version") != VERSION:
        rule = f"has version {shape.get('version')}, this program reads {VERSION}"
        raise BadInput("package", str(folder), rule, "compile the network again")
    try:
        return _package(shape, tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput("package", str(folder), f"lacks a part ({error})", "compile the network again") from error


def _package(shape: dict[str, Any], tensors: dict[str, Array]) -> Package:
    maps = {}
    for name, entry in shape["maps"].items():
        pairs = tuple((int(giant), int(baby)) for giant, baby in entry["pairs"])
        maps[name] = Sketch(pairs=pairs, biased=bool(entry["biased"]))
    program = Program(
        steps=tuple(Step.from_json(entry) for entry in shape["steps"]),
        maps=maps,
        inputs=tuple(shape["inputs"]),
        outputs=tuple(shape["outputs"]),
    )
    return Package(
        program=program,
        packing=Packing.from_json(shape["packing"]),
        parameters=Parameters.from_json(shape["parameters"]),
        reading=_reading(shape["reading"]),
        tensors=tensors,
        streamed=frozenset(shape["streamed"]),
        meta=shape["meta"],
    )


def _reading(data: dict[str, Any]) -> Reading:
    interval = data["interval"]
    ends = None if interval is None else (float(interval[0]), float(interval[1]))
    return Reading(**data | {"classes": tuple(data["classes"]), "interval": ends})
