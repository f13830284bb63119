"""A network's circuit, operation by operation, on a machine: with noise, or to predict what noise would do."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unmask.poly.guard import Measured
from unmask.poly.machine import Held, Machine
from unmask.poly.network import Affine, Attention, FeedForward, Network
from unmask.poly.placement import Chain, Placement, evaluated
from unmask.poly.polynomial import Array
from unmask.poly.program import Program

MARGIN = 1.25
"""By how much values are thought to exceed those that were measured, for bootstraps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Runner:
    """Sends inputs through a network on a machine.

    Args:
        network: the network.
        chain: parameters.
        placement: where bootstraps go.
        measured: sizes of the intermediates, which bootstraps are scaled by.
    """

    network: Network
    chain: Chain
    placement: Placement
    measured: Measured

    def run(self, x: Array, machine: Machine) -> Held:
        """Return the logits."""
        network, programs = self.network, evaluated(self.network)
        held, last = machine.encrypt(x, self.chain.levels), len(network.blocks) - 1
        if network.embedding is None:
            held = machine.rearranged(held, held.value + network.position, lambda gradient: (gradient,))
        entering = "embedding"
        for index, block in enumerate(network.blocks):
            room = f"{index}.attention"
            held = self.attention(machine, room, entering, held, block.attention, programs[f"{room}.scores"])
            entering, room = f"{room}.residual", f"{index}.feed_forward"
            head = network.head if index == last else None
            held = self.feed_forward(machine, room, entering, held, block.feed_forward, programs[f"{room}.rise"], head)
            entering = f"{room}.residual"
        return held

    def attention(self, machine: Machine, room: str, entering: str, x: Held, part: Attention, program: Program) -> Held:
        """Return the sum of x and its attention; the first layer reads the client's input through the embedding."""
        embeds = self.network.embedding if room == "0.attention" else None
        sizes = self.sizes(main=entering if embeds is None else "input")
        x = self.refreshed(machine, f"{room}.project", {"main": x}, sizes)["main"]
        maps = _balanced(part, program)
        q, k, v = (self._read(machine, x, each, embeds) for each in maps)
        skip = x if embeds is None else machine.affine(x, embeds.weight, embeds.bias + self.network.position)
        gain = float(np.sqrt(np.abs(program.slope * part.scale).max()))
        sizes = {"query": gain * self.size(f"{room}.query"), "main": gain * self.size(f"{room}.key")}
        sizes |= self.sizes(skip=entering)
        alive = self.refreshed(machine, f"{room}.scores", {"query": q, "main": k, "skip": skip}, sizes)
        q, k, skip = alive["query"], alive["main"], alive["skip"]
        # The placement refreshes values with queries and keys, of which they are the third.
        v = self.refreshed(machine, f"{room}.scores", {"main": v}, self.sizes(main=f"{room}.value"))["main"]
        q, k, v = (_split(machine, each, part.heads) for each in (q, k, v))
        s = machine.scores(q, k, program.slope * part.shift + program.offset)
        sizes = {"main": _node_size(self.size(f"{room}.scores"), program)}
        sizes |= self.sizes(value=f"{room}.value", skip=entering)
        alive = self.refreshed(machine, f"{room}.weights", {"main": s, "value": v, "skip": skip}, sizes)
        p, v, skip = machine.polynomial(alive["main"], program), alive["value"], alive["skip"]
        machine.tape.names[f"{room}.scores"] = p.node
        sizes = self.sizes(main=f"{room}.weights", value=f"{room}.value", skip=entering)
        alive = self.refreshed(machine, f"{room}.mixed", {"main": p, "value": v, "skip": skip}, sizes)
        mixed = _joined(machine, machine.mix(alive["main"], alive["value"], part.mask))
        sizes = self.sizes(main=f"{room}.mixed", skip=entering)
        alive = self.refreshed(machine, f"{room}.output", {"main": mixed, "skip": alive["skip"]}, sizes)
        return machine.add(alive["skip"], machine.affine(alive["main"], part.output.weight, part.output.bias))

    def feed_forward(
        self,
        machine: Machine,
        room: str,
        entering: str,
        x: Held,
        part: FeedForward,
        program: Program,
        head: Affine | None,
    ) -> Held:
        """Return the sum of x and what the feed-forward part makes of it; or its logits, with the head folded in."""
        x = self.refreshed(machine, f"{room}.rise", {"main": x}, self.sizes(main=entering))["main"]
        weight, bias = program.slope * part.rise.weight, program.slope * part.rise.bias + program.offset
        sizes = {"main": _node_size(self.size(f"{room}.rise"), program)} | self.sizes(skip=entering)
        risen = {"main": machine.affine(x, weight, bias), "skip": x}
        alive = self.refreshed(machine, f"{room}.activated", risen, sizes)
        h = machine.polynomial(alive["main"], program)
        machine.tape.names[f"{room}.rise"] = h.node
        sizes = self.sizes(main=f"{room}.activated", skip=entering)
        stage = f"{room}.output" if head is None else "logits"
        alive = self.refreshed(machine, stage, {"main": h, "skip": alive["skip"]}, sizes)
        h, x = alive["main"], alive["skip"]
        if head is None:
            return machine.add(x, machine.affine(h, part.fall.weight, part.fall.bias))
        h, x = self.pooled(machine, h), self.pooled(machine, x)
        fallen = machine.affine(h, head.weight @ part.fall.weight, head(part.fall.bias))
        return machine.add(fallen, machine.affine(x, head.weight, np.zeros(len(head.bias))))

    def _read(self, machine: Machine, x: Held, part: Affine, embeds: Affine | None) -> Held:
        if embeds is None:
            return machine.affine(x, part.weight, part.bias)
        return machine.affine(x, part.weight @ embeds.weight, part(embeds.bias + self.network.position))

    def pooled(self, machine: Machine, x: Held) -> Held:
        """Return what the head sees."""
        n = self.network.tokens
        match self.network.pooling:
            case "mean":
                return machine.mean(x)
            case "all":
                return x
        place = 0 if self.network.pooling == "first" else n - 1

        def pull(gradient: Array) -> tuple[Array, ...]:
            whole = np.zeros((len(gradient), n, gradient.shape[-1]))
            whole[:, place] = gradient
            return (whole,)

        return machine.rearranged(x, x.value[:, place], pull)

    def refreshed(
        self, machine: Machine, stage: str, alive: Mapping[str, Held], sizes: Mapping[str, float]
    ) -> dict[str, Held]:
        """Return the ciphertexts with those refreshed that the placement names at a stage."""
        wanted = {name for at, name in self.placement.bootstraps if at == stage}
        wanted |= {"query"} & set(alive) if "main" in wanted else set()
        level = self.chain.refreshed
        return {
            name: machine.bootstrap(held, level, sizes[name]) if name in wanted else held
            for name, held in alive.items()
        }

    def sizes(self, **names: str) -> dict[str, float]:
        """Return the size that each ciphertext is scaled by for a bootstrap."""
        return {name: self.size(of) for name, of in names.items()}

    def size(self, of: str) -> float:
        """Return the size that an intermediate is scaled by."""
        return MARGIN * self.measured.sizes[of]

    def forecast(self, x: Array) -> tuple[Array, Array]:
        """Return each logit's drift and the variance of its noise, to first order, in the shape of the logits.

        Args:
            x: (batch, n, inputs).
        """
        machine = Machine(noise=self.chain.noise, drifts=self.chain.drifts)
        logits = self.run(x, machine)
        biases, variances = np.zeros_like(logits.value), np.zeros_like(logits.value)
        for logit in np.ndindex(logits.value.shape[1:]):
            seed, at = np.zeros_like(logits.value), (slice(None), *logit)
            seed[at] = 1.0
            biases[at], variances[at] = machine.tape.back(logits.node, seed)
        return biases, variances


def _node_size(size: float, program: Program) -> float:
    return abs(program.slope) * size + abs(program.offset)


def _balanced(part: Attention, program: Program) -> tuple[Affine, Affine, Affine]:
    # What the scores are multiplied by goes into query and key, half and half, so that neither loses precision.
    gains = np.repeat(program.slope * part.scale, len(part.query.bias) // part.heads)
    root = np.sqrt(np.abs(gains))
    factors = (np.sign(gains) * root, root)
    query, key = (
        Affine(weight=each.weight * factor[:, None], bias=each.bias * factor)
        for each, factor in zip((part.query, part.key), factors, strict=True)
    )
    return query, key, part.value


def _split(machine: Machine, x: Held, heads: int) -> Held:
    def pull(gradient: Array) -> tuple[Array, ...]:
        return (np.moveaxis(gradient, -3, -2).reshape(x.value.shape),)

    shape = (*x.value.shape[:-1], heads, -1)
    return machine.rearranged(x, np.moveaxis(x.value.reshape(shape), -2, -3), pull)


def _joined(machine: Machine, x: Held) -> Held:
    def pull(gradient: Array) -> tuple[Array, ...]:
        batch, heads, n, width = x.value.shape
        return (np.moveaxis(gradient.reshape(batch, n, heads, width), -2, -3),)

    value = np.moveaxis(x.value, -3, -2)
    return machine.rearranged(x, value.reshape(*value.shape[:2], -1), pull)
