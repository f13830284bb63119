"""Runs a package's circuit on an evaluator, and says what each layer took."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from unmask.errors import BadInput
from unmask.he.backend import Ciphertext, Evaluator, Plaintext, Prepared
from unmask.he.counts import Counts
from unmask.he.package import Package
from unmask.he.program import Step


@dataclass(frozen=True, kw_only=True)
class Done:
    """One finished step.

    Args:
        layer: what it is part of.
        kind: of the step.
        level: level of its result.
        seconds: wall-clock time, if the evaluator was waited for; 0 otherwise.
        counts: what it did.
    """

    layer: str
    kind: str
    level: int
    seconds: float
    counts: Counts

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON holds them."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ready:
    """A package whose weights an evaluator holds: made once, run for every query.

    Args:
        package: the circuit.
        evaluator: of a backend.
        maps: prepared linear maps by name.
        vectors: encoded vectors by name.
    """

    package: Package
    evaluator: Evaluator
    maps: dict[str, Prepared]
    vectors: dict[str, Plaintext]


def ready(package: Package, evaluator: Evaluator) -> Ready:
    """Hand a package's weights to an evaluator, each at the level where it is used.

    Raises:
        BadInput: if the evaluator has other parameters.
    """
    if evaluator.parameters != package.parameters:
        rule = "are not those of the package"
        raise BadInput("parameters", evaluator.parameters, rule, "make keys for this package: unmask he keygen")
    maps, vectors = {}, {}
    for step in package.program.steps:
        for name in step.maps:
            streamed = name in package.streamed
            maps[name] = evaluator.prepare(package.linear_map(name), step.level, streamed=streamed)
        if step.vector:
            vectors[step.vector] = evaluator.encode(package.vector(step.vector), step.level)
    return Ready(package=package, evaluator=evaluator, maps=maps, vectors=vectors)


def execute(
    held: Ready,
    ciphertexts: Sequence[bytes],
    *,
    report: Callable[[Done], None] | None = None,
    look: Callable[[str, Ciphertext], None] | None = None,
) -> list[bytes]:
    """Return the encrypted logits of encrypted inputs.

    Args:
        held: the package, with an evaluator that has its weights.
        ciphertexts: one for each input of the program.
        report: called after each step, which is then waited for.
        look: called with each result and its name, to compare it where the key is at hand.

    Raises:
        BadInput: if the number of ciphertexts is wrong or one cannot be read.
    """
    inputs = [held.evaluator.load(content) for content in ciphertexts]
    return [held.evaluator.serialise(output) for output in run(held, inputs, report=report, look=look)]


def run(
    held: Ready,
    inputs: Sequence[Ciphertext],
    *,
    report: Callable[[Done], None] | None = None,
    look: Callable[[str, Ciphertext], None] | None = None,
) -> list[Ciphertext]:
    """Return the outputs for ciphertexts that the evaluator has loaded; see `execute`.

    Raises:
        BadInput: if the number of ciphertexts is wrong.
    """
    program, evaluator = held.package.program, held.evaluator
    if len(inputs) != len(program.inputs):
        rule = f"are not the {len(program.inputs)} that the package takes"
        raise BadInput("ciphertexts", len(inputs), rule, "send what `unmask he query` makes")
    values: dict[str, Ciphertext] = dict(zip(program.inputs, inputs, strict=True))
    last = program.last_use
    for index, step in enumerate(program.steps):
        before, began = evaluator.counts + Counts(), time.monotonic()
        results = apply(evaluator, step, [values[name] for name in step.inputs], held.maps, held.vectors)
        values |= dict(zip(step.outputs, results, strict=True))
        if report is not None:
            evaluator.wait()
            seconds = time.monotonic() - began
            level, done = results[0].level, evaluator.counts - before
            report(Done(layer=step.layer, kind=step.kind, level=level, seconds=seconds, counts=done))
        if look is not None:
            for name in step.outputs:
                look(name, values[name])
        del results
        for name in {name for name in step.inputs if last.get(name) == index}:
            del values[name]
    return [values[name] for name in program.outputs]


def apply(
    evaluator: Evaluator,
    step: Step,
    inputs: Sequence[Ciphertext],
    maps: Mapping[str, Prepared],
    vectors: Mapping[str, Plaintext],
) -> Sequence[Ciphertext]:
    """Return the results of one step.

    Raises:
        BadInput: if the package holds a kind of step that this program does not know.
    """
    lowered = [evaluator.drop(a, step.level) if a.level > step.level else a for a in inputs]
    first: Ciphertext = lowered[0]
    match step.kind:
        case "linear":
            return evaluator.linear(first, [maps[name] for name in step.maps])
        case "multiply":
            return (evaluator.multiply_sum(list(zip(lowered[::2], lowered[1::2], strict=True))),)
        case "square":
            return (evaluator.multiply(first, first),)
        case "add_vector":
            return (evaluator.add_plain(first, vectors[step.vector]),)
        case "add_constant":
            return (evaluator.add_constant(first, step.constant),)
        case "bootstrap":
            return (evaluator.bootstrap(first),)
    if step.polynomial is not None:
        return (evaluator.polynomial(first, step.polynomial),)
    for rotation in step.rotations:
        first = evaluator.add(first, evaluator.rotate(first, rotation))
    for other in lowered[1:]:
        first = evaluator.add(first, other)
    if step.kind not in {"fold", "add"}:
        raise BadInput("step", step.kind, "is unknown", "compile the network again")
    return (first,)
