"""Collects the steps, maps and vectors of a circuit while a network is lowered."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unmask.he.activation import Activation
from unmask.he.babysteps import DEAR, KEY, Steps
from unmask.he.diagonals import Diagonals, doublings
from unmask.he.packing import Array, Packing
from unmask.he.program import Kind, Program, Sketch, Step


@dataclass(kw_only=True, eq=False)
class Builder:
    """A circuit under construction. Methods that append steps return the names of their results.

    Args:
        packing: the axes.
        splitter: chooses baby and giant steps.
        steps: so far.
        maps: sketches by name.
        tensors: `NAME.weight`, the vectors of a map stacked, `NAME.bias`, and vectors; they broadcast to the axes.
    """

    packing: Packing
    splitter: Steps
    steps: list[Step] = field(default_factory=list)
    maps: dict[str, Sketch] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, packing: Packing, turns: frozenset[int] = frozenset()) -> "Builder":
        """Return an empty circuit whose keys are those of the folds that every layer needs.

        Args:
            packing: the axes.
            turns: rotations that have a key anyway, for the sake of bootstraps; further keys are then dear, since
                each holds the residues that a bootstrap needs.
        """
        splitter = Steps(slots=packing.slots, known=set(turns), key=DEAR if turns else KEY)
        splitter.learn(doublings(packing.block_step, packing.blocks))
        splitter.learn(-step for step in doublings(packing.block_step, packing.blocks))
        return cls(packing=packing, splitter=splitter)

    def linear(self, layer: str, source: str, maps: Sequence[tuple[str, Diagonals]]) -> tuple[str, ...]:
        """Apply maps to one ciphertext, and the folds that end them."""
        splits = self.splitter.split([list(diagonals.terms) for _, diagonals in maps])
        for (name, diagonals), split in zip(maps, splits, strict=True):
            offsets = list(diagonals.terms)
            pairs = tuple(split[offset] for offset in offsets)
            self.maps[name] = Sketch(pairs=pairs, biased=diagonals.bias is not None)
            self.tensors[f"{name}.weight"] = np.stack([diagonals.terms[offset] for offset in offsets])
            if diagonals.bias is not None:
                self.tensors[f"{name}.bias"] = diagonals.bias
        called = [name for name, _ in maps]
        raw = tuple(f"{name}+" if diagonals.fold else name for name, diagonals in maps)
        self._append("linear", layer, (source,), raw, maps=tuple(called))
        for name, diagonals in maps:
            if diagonals.fold:
                self.fold(layer, f"{name}+", diagonals.fold, name)
        return tuple(called)

    def fold(self, layer: str, source: str, rotations: Sequence[int], name: str) -> str:
        """Sum rotations; without any, the source is the result."""
        if not rotations:
            return source
        turned = tuple(step % self.packing.slots for step in rotations)
        self.splitter.learn(turned)
        return self._append("fold", layer, (source,), (name,), rotations=turned)[0]

    def copies(self, layer: str, source: str, name: str) -> str:
        """Copy the first block, the others being zero, into all of them."""
        steps = [-step for step in doublings(self.packing.block_step, self.packing.blocks)]
        return self.fold(layer, source, steps, name)

    def multiply(self, layer: str, pairs: Sequence[tuple[str, str]], name: str) -> str:
        """Sum products."""
        return self._append("multiply", layer, tuple(part for pair in pairs for part in pair), (name,))[0]

    def add(self, layer: str, terms: Sequence[str], name: str) -> str:
        """Sum ciphertexts."""
        return self._append("add", layer, tuple(terms), (name,))[0]

    def add_vector(self, layer: str, source: str, vector: Array, name: str) -> str:
        """Add a vector; one that is zero is left out."""
        if not np.any(vector):
            return source
        self.tensors[name] = vector
        return self._append("add_vector", layer, (source,), (name,), vector=name)[0]

    def activate(self, layer: str, source: str, activation: Activation, name: str) -> str:
        """Apply what is left of a polynomial."""
        if activation.series is not None:
            step = Step(kind="polynomial", layer=layer, inputs=(source,), outputs=(name,), polynomial=activation.series)
            self.steps.append(step)
            return name
        if not activation.squared:
            return source
        if not activation.constant:
            return self._append("square", layer, (source,), (name,))[0]
        square = self._append("square", layer, (source,), (f"{name}+",))[0]
        return self._append("add_constant", layer, (square,), (name,), constant=activation.constant)[0]

    def program(self, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
        """Return the circuit, without levels."""
        return Program(steps=tuple(self.steps), maps=dict(self.maps), inputs=tuple(inputs), outputs=tuple(outputs))

    def _append(
        self,
        kind: Kind,
        layer: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        *,
        maps: tuple[str, ...] = (),
        vector: str = "",
        rotations: tuple[int, ...] = (),
        constant: float = 0.0,
    ) -> tuple[str, ...]:
        step = Step(
            kind=kind,
            layer=layer,
            inputs=inputs,
            outputs=outputs,
            maps=maps,
            vector=vector,
            rotations=rotations,
            constant=constant,
        )
        self.steps.append(step)
        return outputs
