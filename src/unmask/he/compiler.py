"""From a plain network to a package: packing, circuit, levels and refreshed ciphertexts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unmask.errors import BadInput
from unmask.he import lowering
from unmask.he.builder import Builder
from unmask.he.levels import levelled, refreshed
from unmask.he.package import Package, Reading
from unmask.he.packing import Array, Packing, power
from unmask.he.parameters import Parameters
from unmask.he.planner import MEMORY, Plan, fitted, parameters_for, refreshing, seconds_of
from unmask.he.program import Program
from unmask.poly.network import Attention, Network

RINGS = (14, 15, 16)
CLOSE = 1.2
"""Among packages up to so much slower than the fastest, the smallest is taken."""
MARGIN = 1.5
"""Representations are divided by so much more than their largest calibration value before a bootstrap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Circuit:
    """A network as steps, before parameters are fixed.

    Args:
        network: what it computes.
        program: steps without levels.
        packing: the axes.
        tensors: the weights.
    """

    network: Network
    program: Program
    packing: Packing
    tensors: dict[str, Array]

    @property
    def depth(self) -> int:
        """Levels without a bootstrap."""
        return levelled(self.program).levels


def packing_of(network: Network, slots: int, batch: int | None = None) -> Packing:
    """Return the axes for a network: as many images as leave a block for every token, unless said otherwise.

    Args:
        network: gives tokens and width.
        slots: entries of a vector.
        batch: images in a ciphertext, a power of two.

    Raises:
        BadInput: if one image does not fit.
    """
    width, rows = lowering.width_of(network), power(network.tokens)
    room = slots // (width * rows)
    if not room:
        needed = f"take a ring of 2^{(2 * width * rows - 1).bit_length()}, or fewer tokens or features"
        raise BadInput("network", (network.tokens, network.width), f"does not fit {slots} slots", needed)
    images = max(1, room // rows) if batch is None else batch
    if images > room:
        raise BadInput("batch", images, f"exceeds the {room} that fit", "take fewer images, or a larger ring")
    return Packing(width=width, blocks=room // images, rows=rows, batch=images, tokens=network.tokens)


def lower(network: Network, packing: Packing, *, scale: float = 1.0, turns: frozenset[int] = frozenset()) -> Circuit:
    """Return the circuit of a network.

    Args:
        network: what to compute.
        packing: the axes.
        scale: what representations between layers are divided by.
        turns: rotations that have a key anyway.
    """
    builder = Builder.of(packing, turns)
    outputs = lowering.network(builder, network, scale)
    program = builder.program(("x",), outputs)
    return Circuit(network=network, program=program, packing=packing, tensors=builder.tensors)


def compile_network(
    network: Network,
    parameters: Parameters | None = None,
    *,
    batch: int | None = None,
    calibration: Array | None = None,
    memory: int = MEMORY,
    rings: Sequence[int] = RINGS,
) -> tuple[Package, Plan]:
    """Return the cheapest package of a network that fits, and what it will take.

    Without parameters, those are tried that hold all levels at once; then those that bootstrap.

    Args:
        network: with its norms folded.
        parameters: to use, or None to choose.
        batch: images in one ciphertext, or None to choose.
        calibration: (count, tokens, inputs), inputs that show the ranges; needed if something is refreshed.
        memory: bytes of the server.
        rings: log2 of the ring dimensions to try.

    Raises:
        BadInput: if nothing fits, with the reason and the nearest network that would.
    """
    given = [parameters] if parameters else []
    reasons, made = [], []
    for choice in given or _leveled(network, rings):
        try:
            made.append(_package(network, choice, batch, calibration, memory))
        except BadInput as reason:
            reasons.append(reason)
    if not made and not given:
        try:
            made.append(_package(network, refreshing(max(rings)), batch, calibration, memory))
        except BadInput as reason:
            reasons.append(reason)
    if not made:
        refusal: BadInput = _refused(network, reasons[0], parameters, batch, calibration, memory, rings)
        raise refusal
    least = min(plan.seconds / plan.batch for _, plan in made)
    close = [pair for pair in made if pair[1].seconds / pair[1].batch <= CLOSE * least]
    return min(close, key=lambda pair: pair[1].memory)


def _leveled(network: Network, rings: Sequence[int]) -> list[Parameters]:
    """Return parameters without a bootstrap, of the smallest rings that hold the network's levels."""
    found: list[Parameters] = []
    for ring in sorted(rings):
        try:
            depth = lower(network, packing_of(network, 2 ** (ring - 1))).depth
        except BadInput:
            continue
        found += parameters_for(depth, [ring])
    return found


def _package(
    network: Network, parameters: Parameters, batch: int | None, calibration: Array | None, memory: int
) -> tuple[Package, Plan]:
    packing = packing_of(network, parameters.slots, batch)
    circuit, program = lower(network, packing), None
    if circuit.depth <= parameters.levels:
        program = levelled(circuit.program)
    elif parameters.budget is None:
        rule = f"are fewer than the {circuit.depth} of the network, and nothing can be refreshed"
        raise BadInput("levels", parameters.levels, rule, "give more, or parameters that bootstrap")
    else:
        circuit = lower(network, packing, scale=_scale(network, calibration), turns=parameters.turns)
        program = refreshed(
            circuit.program,
            top=parameters.levels,
            after=parameters.refreshed,
            fit=_fit(circuit.program),
            cost=seconds_of(circuit.program, parameters),
        )
    package = Package(
        program=program,
        packing=packing,
        parameters=parameters,
        reading=reading_of(network, packing, calibration),
        tensors=circuit.tensors,
        meta=dict(network.meta),
    )
    return fitted(package, memory)


def _scale(network: Network, calibration: Array | None) -> float:
    """Return what representations are divided by so that they lie in [-1, 1].

    Raises:
        BadInput: if there are no inputs to tell.
    """
    if calibration is None:
        remedy = "give inputs that show its ranges, as `calibration`"
        raise BadInput("network", len(network.blocks), "blocks have to be refreshed in between", remedy)
    residuals = [np.abs(v).max() for name, v in network.steps(calibration) if name.endswith(".residual")]
    return MARGIN * float(max(residuals))


def _fit(program: Program) -> frozenset[str]:
    """Return what may be refreshed: representations between layers, and scores about to enter a series."""
    streams = {name for step in program.steps for name in step.outputs if name.endswith(".x")}
    scores = {step.inputs[0] for step in program.steps if step.kind == "polynomial" and "attention" in step.layer}
    return frozenset(streams | scores)


def _refused(
    network: Network,
    reason: BadInput,
    parameters: Parameters | None,
    batch: int | None,
    calibration: Array | None,
    memory: int,
    rings: Sequence[int],
) -> BadInput:
    """Return the refusal, with the nearest network that fits: the same with fewer blocks."""
    for blocks in range(len(network.blocks) - 1, 0, -1):
        smaller = replace(network, blocks=network.blocks[:blocks])
        choices = [parameters] if parameters else _leveled(smaller, rings)
        for choice in choices:
            try:
                _package(smaller, choice, batch, calibration, memory)
            except BadInput:
                continue
            near = f"take {blocks} block{'s' * (blocks > 1)}: the nearest network that fits"
            return BadInput(reason.argument, reason.value, reason.rule, f"{reason.remedy}; or {near}")
    return reason


def attention_package(part: Attention, tokens: int, parameters: Parameters) -> Package:
    """Return a package of one attention by itself, on inputs of its width; results come token by token.

    Raises:
        BadInput: if the parameters have too few slots or levels.
    """
    width = len(part.output.bias)
    heads = power(part.heads) * power(len(part.query.bias) // part.heads)
    places = max(power(width), heads)
    room = parameters.slots // (places * power(tokens))
    if not room:
        rule = f"does not fit {parameters.slots} slots"
        raise BadInput("attention", (tokens, width), rule, "take a larger ring")
    images = max(1, room // power(tokens))
    packing = Packing(width=places, blocks=room // images, rows=power(tokens), batch=images, tokens=tokens)
    builder = Builder.of(packing)
    output = lowering.attention(builder, lowering.Stream(name="x"), part, "attention")
    program = levelled(builder.program(("x",), (output,)))
    if program.levels > parameters.levels:
        rule = f"are fewer than the {program.levels} that it takes"
        raise BadInput("levels", parameters.levels, rule, "give more")
    reading = Reading(features=width, interval=None, rows=width, groups=1, results=width, pooling="all")
    return Package(program=program, packing=packing, parameters=parameters, reading=reading, tensors=builder.tensors)


def reading_of(network: Network, packing: Packing, calibration: Array | None = None) -> Reading:
    """Return what the client needs to know.

    Args:
        network: gives inputs and classes.
        packing: the axes.
        calibration: inputs whose range is taken for the fitted one, unless the network's notes name it.
    """
    results = len(network.head.bias)
    wide = results > packing.width
    interval, ends = network.meta.get("input_range"), None
    if isinstance(interval, list | tuple) and len(interval) == 2:
        ends = (float(interval[0]), float(interval[1]))
    elif calibration is not None:
        ends = (float(calibration.min()), float(calibration.max()))
    return Reading(
        features=network.inputs,
        interval=ends,
        rows=packing.width if wide else results,
        groups=min(packing.blocks, power(-(-results // packing.width))) if wide else 1,
        results=results,
        pooling=network.pooling,
        classes=network.classes,
    )
