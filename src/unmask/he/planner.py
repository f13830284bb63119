"""What a circuit will take, before any key is made: levels, keys, operations, seconds and bytes."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np

from unmask.errors import BadInput
from unmask.he.backend import Plaintext, Prepared
from unmask.he.costs import BASE, Costs
from unmask.he.counts import Counts
from unmask.he.linear_map import LinearMap
from unmask.he.package import Package
from unmask.he.parameters import LARGEST, Parameters
from unmask.he.program import Program, Sketch, Step
from unmask.he.run import Ready, apply, run
from unmask.he.tally import Held, Tally

SCALES = (50, 48, 46, 45, 44, 43, 42, 41, 40)
"""Bits of the scale to try, the most precise first."""
REFRESHING = (3, 3)
"""Levels of the two transforms of a bootstrap: (2, 2) leave two more, and take 8 GB more of encoded diagonals."""
MEMORY = 12 * 10**9
"""Bytes that a server may take, unless said otherwise."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A prediction.

    Args:
        parameters: of the encryption.
        levels: at which the inputs are sent.
        counts: of one run.
        set_up: of handing over the weights.
        keys: rotation keys, the one for relinearising aside.
        seconds: of one run on one idle core; two take about 0.6 of it.
        key_bytes: of all evaluation keys, and of what bootstrapping precomputes.
        weight_bytes: of what is held encoded.
        working_bytes: of ciphertexts at the widest step.
        sent_bytes: of a query.
        streamed: maps that are encoded on the fly.
        batch: inputs that share one run.
    """

    parameters: Parameters
    levels: int
    counts: Counts
    set_up: Counts
    keys: int
    seconds: float
    key_bytes: int
    weight_bytes: int
    working_bytes: int
    sent_bytes: int
    streamed: frozenset[str]
    batch: int

    @property
    def memory(self) -> int:
        """Bytes of the server."""
        return BASE + self.key_bytes + self.weight_bytes + self.working_bytes

    def lines(self) -> list[tuple[str, str]]:
        """Return what to show, as pairs of name and value."""
        p, c = self.parameters, self.counts
        refreshing = f", refreshed to {p.refreshed}" if p.budget else ""
        return [
            ("ring, scale, digits", f"2^{p.ring}, 2^{p.scale}, {p.parts}; modulus {p.modulus} bits, 128-bit security"),
            ("inputs in one ciphertext", str(self.batch)),
            ("levels", f"{self.levels} of {p.levels}{refreshing}"),
            ("rotations", f"{c.rotations} alone, {c.hoisted} hoisted in {c.decompositions} decompositions"),
            ("key switches", f"{c.key_switches}, {c.relinearisations} of them relinearisations"),
            ("products", f"{c.products} of ciphertexts, {c.plain_products} with weights, {c.scalar_products} scalar"),
            ("bootstraps", str(c.bootstraps)),
            ("keys", f"{self.keys} for rotations and 1 for relinearising, {_gigabytes(self.key_bytes)}"),
            ("weights", f"{self.set_up.encodings} vectors, {_gigabytes(self.weight_bytes)}; {self._stream()}"),
            ("seconds of one core", f"{self.seconds:.1f}, {self.seconds / self.batch:.1f} an input"),
            ("memory", f"{_gigabytes(self.memory)} on the server, {_gigabytes(self.sent_bytes)} a query"),
        ]

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON holds them."""
        plain = asdict(self) | {"memory": self.memory, "streamed": sorted(self.streamed)}
        return plain | {"parameters": self.parameters.to_json(), "key_switches": self.counts.key_switches}

    def _stream(self) -> str:
        return f"{len(self.streamed)} maps encoded on the fly" if self.streamed else "all held"


def plan(package: Package, *, costs: Costs | None = None) -> Plan:
    """Return the prediction for a package, whose weights are not looked at.

    Args:
        package: with levels; its tensors may be missing.
        costs: of the operations, by default those measured.
    """
    program, costs = package.program, costs or Costs(parameters=package.parameters)
    tally = Tally(costs)
    maps: dict[str, Prepared] = {}
    vectors: dict[str, Plaintext] = {}
    for step in program.steps:
        for name in step.maps:
            sketch = _sketched(program.maps[name], package.packing.slots)
            maps[name] = tally.prepare(sketch, step.level, streamed=name in package.streamed)
        if step.vector:
            vectors[step.vector] = tally.encode(np.zeros(1), step.level)
    set_up = tally.counts + Counts()
    run(Ready(package=package, evaluator=tally, maps=maps, vectors=vectors), _sent(program))
    keys = len(program.rotations - package.parameters.turns)
    wide = max(len(_babies(program, step.maps)) + 2 for step in program.steps)
    return Plan(
        parameters=package.parameters,
        levels=program.levels,
        counts=tally.counts - set_up,
        set_up=set_up,
        keys=keys,
        seconds=tally.seconds,
        key_bytes=(keys + 1) * costs.key_bytes + bool(program.bootstraps) * costs.bootstrap_bytes,
        weight_bytes=tally.resident,
        working_bytes=(wide + 6) * package.parameters.ciphertext_bytes(program.levels),
        sent_bytes=len(program.inputs) * package.parameters.ciphertext_bytes(program.levels),
        streamed=package.streamed,
        batch=package.packing.batch,
    )


def seconds_of(program: Program, parameters: Parameters) -> Callable[[Step, int], float]:
    """Return a function of a step and the level of its inputs to its predicted seconds."""
    tally = Tally(Costs(parameters=parameters))
    nothing = np.broadcast_to(np.zeros(1), parameters.slots)
    known: dict[tuple[str, str, int], float] = {}

    def seconds(step: Step, level: int) -> float:
        place = (step.kind, step.outputs[0], level)
        if place not in known:
            maps = {n: tally.prepare(_sketched(program.maps[n], parameters.slots), level) for n in step.maps}
            vectors = {step.vector: tally.encode(nothing, level)}
            before = tally.seconds
            apply(tally, replace(step, level=level), [Held(level=level) for _ in step.inputs], maps, vectors)
            known[place] = tally.seconds - before
        return known[place]

    return seconds


def parameters_for(depth: int, rings: Iterable[int]) -> list[Parameters]:
    """Return the parameters that hold so many levels, one for each ring and number of digits, precise ones first."""
    found = []
    for ring in rings:
        for digits in range(1, 7):
            for scale in SCALES:
                try:
                    found.append(Parameters(ring=ring, levels=depth, scale=scale, digits=digits))
                except BadInput:
                    continue
                break
    return found


def refreshing(ring: int = 16, *, scale: int = 57, first: int = 60, digits: int = 4) -> Parameters:
    """Return the parameters with the most levels that can bootstrap.

    The noise of a bootstrap doubles with each bit less of scale. At ring 2^16 and 57 bits, 4 digits leave 6 levels,
    enough for an attention of degree 2; each digit more leaves one level more and takes a quarter more memory.

    Args:
        ring: log2 of the ring dimension.
        scale: bits of the scale.
        first: bits of the last prime left.
        digits: parts into which key switching cuts a ciphertext.

    Raises:
        BadInput: if the ring is too small for that.
    """
    for levels in range(40, 0, -1):
        try:
            made = Parameters(ring=ring, levels=levels, scale=scale, first=first, digits=digits, budget=REFRESHING)
            if made.refreshed >= 1:
                return made
        except BadInput:
            continue
    raise BadInput("ring", ring, "is too small to bootstrap", f"take {max(LARGEST) - 1}")


def fitted(package: Package, memory: int = MEMORY) -> tuple[Package, Plan]:
    """Return the package with as many maps encoded on the fly as the memory demands, and its plan.

    Args:
        package: with levels.
        memory: bytes of the server.

    Raises:
        BadInput: if the keys alone do not fit.
    """
    best = plan(package)
    if best.memory <= memory:
        return package, best
    costs = Costs(parameters=package.parameters)
    sizes = {
        name: package.program.maps[name].vectors * costs.plain_bytes(step.level)
        for step in package.program.steps
        for name in step.maps
    }
    for name in sorted(sizes, key=lambda each: -sizes[each]):
        package = replace(package, streamed=package.streamed | {name})
        best = plan(package)
        if best.memory <= memory:
            return package, best
    rule = f"is less than the {_gigabytes(best.memory)} that keys and ciphertexts take"
    raise BadInput("memory", _gigabytes(memory), rule, "allow more, or compile a smaller network")


def _sketched(sketch: Sketch, slots: int) -> LinearMap:
    nothing = np.broadcast_to(np.zeros(1), slots)
    return LinearMap(diagonals=dict.fromkeys(sketch.pairs, nothing), bias=nothing if sketch.biased else None)


def _babies(program: Program, maps: Iterable[str]) -> set[int]:
    return {baby for name in maps for _, baby in program.maps[name].pairs}


def _sent(program: Program) -> list[Held]:
    return [Held(level=program.levels) for _ in program.inputs]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count > 1e8 else f"{count / 1e6:.1f} MB"
