"""One run, step by step: seconds, level, and how far the decrypted values are from those without noise."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unmask.he.backend import Ciphertext, KeyHolder
from unmask.he.package import Package
from unmask.he.packing import Array
from unmask.he.run import Done, Ready, ready, run
from unmask.he.simulator import SimulatedEvaluator, SimulatedKeyHolder
from unmask.poly.noise import Noise
from unmask.storage import replace

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Point:
    """One result of one step.

    Args:
        name: of the value.
        layer: what it is part of.
        kind: of the step.
        level: of the value.
        seconds: of the step.
        error: largest distance from the value without noise, over all slots.
        deviation: root mean square of it.
        largest: largest value without noise.
    """

    name: str
    layer: str
    kind: str
    level: int
    seconds: float
    error: float
    deviation: float
    largest: float


def clear_values(package: Package, vectors: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the circuit without noise, by name: the plaintext twin of an encrypted run.

    Args:
        package: the circuit.
        vectors: one for each input of the program.
    """
    chance, none = np.random.default_rng(0), Noise.none()
    holder = SimulatedKeyHolder(parameters=package.parameters, generator=chance, noise=none)
    evaluator = SimulatedEvaluator(package.parameters, chance, noise=none)
    found: dict[str, Array] = {}

    def look(name: str, value: Ciphertext) -> None:
        found[name] = holder.decrypt(evaluator.serialise(value))

    inputs = [evaluator.load(holder.encrypt(vector, package.program.levels)) for vector in vectors]
    run(ready(package, evaluator), inputs, look=look)
    return found


def traced(
    held: Ready,
    holder: KeyHolder,
    vectors: Sequence[Array],
    *,
    say: Callable[[Point, Array], None] = lambda point, found: None,
) -> tuple[Point, ...]:
    """Run a package where the key is at hand, and compare each value with its twin in clear.

    Args:
        held: the package, with the evaluator to measure.
        holder: decrypts what that evaluator makes.
        vectors: one for each input of the program.
        say: told of each result as it comes, with what was decrypted.
    """
    wanted, points = clear_values(held.package, vectors), []
    latest: list[Done] = []

    def look(name: str, value: Ciphertext) -> None:
        clear, done = wanted[name], latest[-1]
        found = holder.decrypt(held.evaluator.serialise(value))
        gap = found - clear
        points.append(
            Point(
                name=name,
                layer=done.layer,
                kind=done.kind,
                level=value.level,
                seconds=done.seconds,
                error=float(np.abs(gap).max()),
                deviation=float(np.sqrt(np.mean(gap**2))),
                largest=float(np.abs(clear).max()),
            )
        )
        say(points[-1], found)

    level = held.package.program.levels
    inputs = [held.evaluator.load(holder.encrypt(vector, level)) for vector in vectors]
    run(held, inputs, report=latest.append, look=look)
    return tuple(points)


def write(points: Sequence[Point], package: Package, path: Path, *, backend: str) -> Path:
    """Write a trace as JSON for the report's page.

    Args:
        points: the steps.
        package: the circuit.
        path: the file.
        backend: what it ran on.

    Raises:
        StorageError: if it cannot be written.
    """
    shape: dict[str, object] = {"version": VERSION, "parameters": package.parameters.to_json()}
    shape |= {"backend": backend, "batch": package.packing.batch, "points": [asdict(point) for point in points]}
    return replace(path, json.dumps(shape, indent=1))
