"""An encrypted inference on plain numbers: levels, bootstraps, noise, and the error that it leaves in the output.

>>> chain = Chain(ring=16, scale=45, levels=24)
>>> simulate(network, images, chain, np.random.default_rng(0)).agreement  # doctest: +SKIP
1.0
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unmask.errors import BadInput
from unmask.poly.guard import Measured, Range, guard
from unmask.poly.machine import Held, Machine
from unmask.poly.network import Affine, Attention, FeedForward, Network
from unmask.poly.placement import Chain, Placement, evaluated, place
from unmask.poly.polynomial import Array
from unmask.poly.program import Program

BATCH, MARGIN = 64, 1.25
"""Inputs at a time; by how much values are thought to exceed those that were measured, for bootstraps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """What an encrypted inference would give.

    Args:
        logits: (batch, classes), with noise.
        exact: the same without.
        predicted: root mean square error of a logit, from the noise of each operation carried to the output.
        drift: the part of `predicted` that is not random: the scale's distance from the primes.
        placement: levels and bootstraps.
        ranges: what reached each polynomial.
        trials: how many inputs the prediction was made on.
    """

    logits: Array
    exact: Array
    predicted: float
    drift: float
    placement: Placement
    ranges: tuple[Range, ...]
    trials: int

    @property
    def measured(self) -> float:
        """Root mean square error of a logit."""
        return float(np.sqrt(np.mean((self.logits - self.exact) ** 2)))

    @property
    def largest(self) -> float:
        """Largest error of a logit."""
        return float(np.abs(self.logits - self.exact).max())

    @property
    def agreement(self) -> float:
        """Share of inputs, or of tokens, whose largest logit is the same."""
        return float(np.mean(self.logits.argmax(axis=-1) == self.exact.argmax(axis=-1)))


def simulate(
    network: Network, x: Array, chain: Chain, rng: np.random.Generator, *, probes: int = 32, share: float = 1.0
) -> Simulation:
    """Run a network as CKKS would, and predict its error beside.

    Args:
        network: the network.
        x: (batch, n, inputs), held-out inputs.
        chain: parameters of the scheme.
        rng: source of the noise.
        probes: on how many inputs the error is predicted.
        share: part of each interval that may be used.

    Raises:
        BadInput: if the network leaves an interval on x, or there are too few levels; see `guard` and `place`.
    """
    if probes < 1:
        raise BadInput("probes", probes, "is below 1", "predict on at least one input")
    measured = guard(network, x, share=share)
    placement = place(network, chain)
    runner = Runner(network=network, chain=chain, placement=placement, measured=measured)
    noisy = [
        runner.run(x[start : start + BATCH], Machine(noise=chain.noise, drifts=chain.drifts, rng=rng)).value
        for start in range(0, len(x), BATCH)
    ]
    predicted, drift = runner.predict(x[:probes])
    return Simulation(
        logits=np.concatenate(noisy),
        exact=measured.logits,
        predicted=predicted,
        drift=drift,
        placement=placement,
        ranges=measured.ranges,
        trials=min(probes, len(x)),
    )


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
        held = machine.encrypt(x, self.chain.levels)
        if network.embedding is not None:
            held = self.refreshed(machine, "embedding", {"main": held}, {"main": float(np.abs(x).max())})["main"]
            held = machine.affine(held, network.embedding)
        held = machine.rearranged(held, held.value + network.position, lambda gradient: (gradient,))
        entering = "embedding"
        for index, block in enumerate(network.blocks):
            room = f"{index}.attention"
            held = self.attention(machine, room, entering, held, block.attention, programs[f"{room}.scores"])
            entering, room = f"{room}.residual", f"{index}.feed_forward"
            held = self.feed_forward(machine, room, entering, held, block.feed_forward, programs[f"{room}.rise"])
            entering = f"{room}.residual"
        pooled = self.pooled(machine, held)
        pooled = self.refreshed(machine, "logits", {"main": pooled}, self.sizes(main="pooled"))["main"]
        return machine.affine(pooled, network.head)

    def attention(self, machine: Machine, room: str, entering: str, x: Held, part: Attention, program: Program) -> Held:
        """Return the sum of x and its attention."""
        x = self.refreshed(machine, f"{room}.project", {"main": x}, self.sizes(main=entering))["main"]
        q, k, v = (machine.affine(x, each) for each in (part.query, part.key, part.value))
        alive = {"query": q, "main": k, "skip": x}
        sizes = self.sizes(query=f"{room}.query", main=f"{room}.key", skip=entering)
        alive = self.refreshed(machine, f"{room}.scores", alive, sizes)
        q, k, x = alive["query"], alive["main"], alive["skip"]
        # The placement takes the values to be refreshed with queries and keys, of which they are the third.
        v = self.refreshed(machine, f"{room}.scores", {"main": v}, self.sizes(main=f"{room}.value"))["main"]
        q, k, v = (_split(machine, each, part.heads) for each in (q, k, v))
        s = machine.scores(q, k, part.scale, part.shift, program)
        sizes = {"main": float(MARGIN * _node_size(self.measured.sizes[f"{room}.scores"], program))}
        sizes |= self.sizes(value=f"{room}.value", skip=entering)
        alive = self.refreshed(machine, f"{room}.weights", {"main": s, "value": v, "skip": x}, sizes)
        p, v, x = machine.polynomial(alive["main"], program), alive["value"], alive["skip"]
        machine.tape.names[f"{room}.scores"] = p.node
        sizes = self.sizes(main=f"{room}.weights", value=f"{room}.value", skip=entering)
        alive = self.refreshed(machine, f"{room}.mixed", {"main": p, "value": v, "skip": x}, sizes)
        mixed = _joined(machine, machine.mix(alive["main"], alive["value"], part.mask))
        sizes = self.sizes(main=f"{room}.mixed", skip=entering)
        alive = self.refreshed(machine, f"{room}.output", {"main": mixed, "skip": alive["skip"]}, sizes)
        return machine.add(alive["skip"], machine.affine(alive["main"], part.output))

    def feed_forward(
        self, machine: Machine, room: str, entering: str, x: Held, part: FeedForward, program: Program
    ) -> Held:
        """Return the sum of x and what the feed-forward part makes of it."""
        x = self.refreshed(machine, f"{room}.rise", {"main": x}, self.sizes(main=entering))["main"]
        folded = Affine(weight=program.slope * part.rise.weight, bias=program.slope * part.rise.bias + program.offset)
        h = machine.affine(x, folded)
        sizes = {"main": float(MARGIN * _node_size(self.measured.sizes[f"{room}.rise"], program))}
        sizes |= self.sizes(skip=entering)
        alive = self.refreshed(machine, f"{room}.activated", {"main": h, "skip": x}, sizes)
        h = machine.polynomial(alive["main"], program)
        machine.tape.names[f"{room}.rise"] = h.node
        sizes = self.sizes(main=f"{room}.activated", skip=entering)
        alive = self.refreshed(machine, f"{room}.output", {"main": h, "skip": alive["skip"]}, sizes)
        return machine.add(alive["skip"], machine.affine(alive["main"], part.fall))

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
        return {name: MARGIN * self.measured.sizes[of] for name, of in names.items()}

    def predict(self, x: Array) -> tuple[float, float]:
        """Return the root mean square error of the logits to first order, and its part that is not random."""
        machine = Machine(noise=self.chain.noise, drifts=self.chain.drifts)
        logits = self.run(x, machine)
        biases, variances = [], []
        for logit in np.ndindex(logits.value.shape[1:]):
            seed = np.zeros_like(logits.value)
            seed[(slice(None), *logit)] = 1.0
            bias, variance = machine.tape.back(logits.node, seed)
            biases.append(bias**2)
            variances.append(variance)
        drift = float(np.mean(biases))
        return float(np.sqrt(drift + np.mean(variances))), float(np.sqrt(drift))


def _node_size(size: float, program: Program) -> float:
    return abs(program.slope) * size + abs(program.offset)


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
