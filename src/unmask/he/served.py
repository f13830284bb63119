"""Packages by folder, and a compiled network as the two sides of a service see it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.errors import BadInput
from unmask.he import linear_layer
from unmask.he.backend import Ciphertext, Evaluator
from unmask.he.linear_layer import LinearLayer
from unmask.he.package import CIRCUIT, Package, load_package
from unmask.he.parameters import Parameters
from unmask.he.planner import plan
from unmask.he.run import Done, ready, run
from unmask.he.servable import Array, Progress, Queryable, Run


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedNetwork:
    """A compiled network.

    Args:
        package: without its weights on the client.
        digest: of the file that describes the circuit, which both sides have.
        memory: predicted bytes.
        seconds: predicted seconds.
    """

    package: Package
    digest: str
    memory: int
    seconds: float

    @property
    def parameters(self) -> Parameters:
        """See `Servable`."""
        return self.package.parameters

    @property
    def rotations(self) -> tuple[int, ...]:
        """See `Servable`."""
        return tuple(sorted(self.package.program.rotations))

    @property
    def inputs(self) -> int:
        """See `Servable`."""
        return len(self.package.program.inputs)

    @property
    def level(self) -> int:
        """See `Servable`."""
        return self.package.program.levels

    @property
    def classes(self) -> tuple[str, ...]:
        """See `Queryable`."""
        return self.package.reading.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Queryable`: tokens, features."""
        return self.package.packing.tokens, self.package.reading.features

    def open(self, evaluator: Evaluator) -> Run:
        """See `Servable`."""
        held = ready(self.package, evaluator)
        steps = len(self.package.program.steps)

        def compute(ciphertexts: Sequence[Ciphertext], progress: Progress) -> Sequence[Ciphertext]:
            finished = iter(range(1, steps + 1))

            def report(done: Done) -> None:
                progress(done.layer, next(finished) / steps)

            return run(held, ciphertexts, report=report)

        return compute

    def pack(self, inputs: Array) -> tuple[Array, ...]:
        """See `Queryable`."""
        return tuple(self.package.pack(inputs))

    def unpack(self, slots: Sequence[Array]) -> Array:
        """See `Queryable`."""
        return self.package.unpack(slots)


def load(folder: Path, *, weights: bool = True) -> Queryable:
    """Return the package that a folder holds.

    Args:
        folder: of a compiled network or a linear layer.
        weights: whether they are needed; a client has none.

    Raises:
        BadInput: if the folder holds no package, or a damaged one.
    """
    try:
        content = (folder / CIRCUIT).read_bytes()
        shape = json.loads(content)
    except (OSError, ValueError) as error:
        remedy = "make one: unmask he compile NETWORK --out PACKAGE"
        raise BadInput("package", str(folder), f"holds no package ({error})", remedy) from error
    if isinstance(shape, dict) and shape.get("kind") == linear_layer.KIND:
        return LinearLayer.load(folder)
    package = load_package(folder, weights=weights)
    planned = plan(package)
    digest = hashlib.sha256(content).hexdigest()[:32]
    return ServedNetwork(package=package, digest=digest, memory=planned.memory, seconds=planned.seconds)
