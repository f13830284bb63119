"""A circuit as a list of steps on named ciphertexts, which every evaluator can run and JSON can hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from unmask.errors import BadInput
from unmask.he import series
from unmask.poly.polynomial import Polynomial

Kind = Literal["linear", "fold", "multiply", "square", "add", "add_vector", "add_constant", "polynomial", "bootstrap"]
FREE = {"fold", "add", "add_vector", "add_constant", "bootstrap"}
"""Steps without a product: they keep the level."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation.

    Args:
        kind: `linear` applies `maps` to one input, an output each; `fold` adds y and rot(y, r) for each rotation
            in turn; `multiply` is the sum of the products of input pairs; `square` and `polynomial` work on each
            slot; `add` sums its inputs; `add_vector` adds an encoded vector; `bootstrap` refreshes.
        layer: what it is part of, such as `0.attention.scores`.
        inputs: names of ciphertexts.
        outputs: names of its results.
        maps: names of linear maps.
        vector: name of the vector to add.
        rotations: steps of a fold.
        constant: the number to add.
        polynomial: on the interval (-1, 1).
        level: level to which its inputs are brought down before; set when levels are assigned.
    """

    kind: Kind
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    maps: tuple[str, ...] = field(default=())
    vector: str = field(default="")
    rotations: tuple[int, ...] = field(default=())
    constant: float = field(default=0.0)
    polynomial: Polynomial | None = field(default=None)
    level: int = field(default=-1)

    @property
    def depth(self) -> int:
        """Levels that it uses."""
        if self.polynomial is not None:
            return series.levels(self.polynomial)
        return 0 if self.kind in FREE else 1

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are not at their default."""
        data: dict[str, Any] = {"kind": self.kind, "layer": self.layer, "level": self.level}
        data |= {"inputs": list(self.inputs), "outputs": list(self.outputs)}
        data |= {"maps": list(self.maps)} if self.maps else {}
        data |= {"vector": self.vector} if self.vector else {}
        data |= {"rotations": list(self.rotations)} if self.rotations else {}
        data |= {"constant": self.constant} if self.constant else {}
        return data | ({} if self.polynomial is None else {"polynomial": self.polynomial.to_json()})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Step":
        """Return what `to_json` wrote.

        Raises:
            BadInput: if a field is missing.
        """
        try:
            polynomial = data.get("polynomial")
            return cls(
                kind=data["kind"],
                layer=str(data["layer"]),
                inputs=tuple(data["inputs"]),
                outputs=tuple(data["outputs"]),
                maps=tuple(data.get("maps", ())),
                vector=str(data.get("vector", "")),
                rotations=tuple(int(step) for step in data.get("rotations", ())),
                constant=float(data.get("constant", 0.0)),
                polynomial=None if polynomial is None else Polynomial.from_json(polynomial),
                level=int(data["level"]),
            )
        except (KeyError, TypeError, ValueError) as wrong:
            raise BadInput("step", dict(data), f"is incomplete ({wrong})", "compile the network again") from wrong


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A linear map without its weights.

    Args:
        pairs: (giant, baby) of each diagonal.
        biased: whether a vector is added.
    """

    pairs: tuple[tuple[int, int], ...]
    biased: bool

    @property
    def vectors(self) -> int:
        """Vectors to encode."""
        return len(self.pairs) + self.biased


@dataclass(frozen=True, kw_only=True)
class Program:
    """Steps in order, from inputs to outputs.

    Args:
        steps: each uses names that are inputs or results of earlier steps.
        maps: sketches of the linear maps by name.
        inputs: names of the ciphertexts that the client sends.
        outputs: names of those that it gets back.
    """

    steps: tuple[Step, ...]
    maps: Mapping[str, Sketch]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def levels(self) -> int:
        """Level at which the inputs are encrypted."""
        return max(step.level for step in self.steps if set(step.inputs) & set(self.inputs))

    @property
    def rotations(self) -> frozenset[int]:
        """Steps that need a key."""
        found = {step for entry in self.steps for step in entry.rotations}
        for sketch in self.maps.values():
            found.update(step for pair in sketch.pairs for step in pair)
        return frozenset(found - {0})

    @property
    def bootstraps(self) -> int:
        """Ciphertexts that are refreshed."""
        return sum(step.kind == "bootstrap" for step in self.steps)

    @property
    def last_use(self) -> dict[str, int]:
        """Index of the last step that reads a name; outputs are never given up."""
        found = {name: index for index, step in enumerate(self.steps) for name in step.inputs}
        return {name: index for name, index in found.items() if name not in self.outputs}


def names(prefix: str, count: int) -> tuple[str, ...]:
    """Return `prefix.0`, `prefix.1`, ..."""
    return tuple(f"{prefix}.{index}" for index in range(count))
