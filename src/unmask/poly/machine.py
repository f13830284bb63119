"""The operations of an encrypted transformer on plain numbers, with levels, drift and noise.

What is modelled is the circuit that `unmask.he` compiles: linear maps by diagonals (the rotations before the products,
one rescale after the sum); query, key and value copied and shifted into a block per offset; scores by one product
and a sum over the head's features. The noise of a slot that is not kept is not followed, nor which slots share a draw.
"""

from dataclasses import dataclass, field

import numpy as np

from unmask.errors import BadInput
from unmask.poly.noise import Noise
from unmask.poly.polynomial import Array
from unmask.poly.program import Program, Step, value
from unmask.poly.tape import Node, Pull, Tape


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """A value, its level, and its node on the tape."""

    value: Array
    level: int
    node: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Machine:
    """Runs operations; with a generator their noise is drawn and added, without one it is only written down.

    Args:
        noise: deviation that each operation adds.
        drifts: relative error of a rescale from level 0, 1, 2 and so on.
        rng: source of the noise, or None.
        tape: where nodes are kept.
    """

    noise: Noise
    drifts: tuple[float, ...]
    rng: np.random.Generator | None = None
    tape: Tape = field(default_factory=Tape)

    def encrypt(self, x: Array, level: int) -> Held:
        """Return x as the client sends it."""
        return self._made(x, level, np.array(self.noise.fresh**2), np.array(0.0), (), lambda gradient: ())

    def bootstrap(self, x: Held, level: int, size: float) -> Held:
        """Return x refreshed; its values lie within +- size, which is scaled to 1 for it."""
        variance = np.array((self.noise.bootstrap * size) ** 2)
        return self._made(x.value, level, variance, np.array(0.0), (x,), lambda gradient: (gradient,))

    def affine(self, x: Held, W: Array, b: Array) -> Held:
        """Return x W^T + b: one level.

        Args:
            x: (..., in).
            W: (out, in).
            b: broadcastable to (..., out).
        """
        linear = x.value @ W.T
        variance = (
            self.noise.key_switch**2 * (W**2).sum(axis=1)
            + self.noise.encode**2 * (x.value**2).sum(axis=-1, keepdims=True)
            + self.noise.rescale**2
        )
        bias = linear * self.drifts[x.level]
        return self._made(linear + b, self._lower(x.level), variance, bias, (x,), lambda gradient: (gradient @ W,))

    def add(self, a: Held, b: Held) -> Held:
        """Return a + b, at the lower level."""
        nothing, level = np.array(0.0), min(a.level, b.level)
        return self._made(a.value + b.value, level, nothing, nothing, (a, b), lambda gradient: (gradient, gradient))

    def scores(self, q: Held, k: Held, offset: Array) -> Held:
        """Return Q K^T + offset_h: two levels, the copies and the product.

        Args:
            q: (batch, heads, n, d_h), times whatever the scores are multiplied by.
            k: the same.
            offset: (heads,).
        """
        Q, K = q.value, k.value
        level = min(self._lower(q.level), self._lower(k.level))
        summed, width = Q @ np.swapaxes(K, -1, -2), Q.shape[-1]
        # Every block holds its own copy of both: one draw for each pair of tokens.
        variance = Q**2 @ np.swapaxes(self._shift_variance(K), -1, -2)
        variance = variance + self._shift_variance(Q) @ np.swapaxes(K, -1, -2) ** 2
        variance = variance + width * self.noise.rescale**2 + (width - 1) * self.noise.key_switch**2
        bias = summed * (self.drifts[q.level] + self.drifts[k.level] + self.drifts[level])

        def pull(gradient: Array) -> tuple[Array, ...]:
            return gradient @ K, np.swapaxes(gradient, -1, -2) @ Q

        moved = summed + offset[:, None, None]
        return self._made(moved, self._lower(level), variance, bias, (q, k), pull)

    def mix(self, p: Held, v: Held, mask: Array | None) -> Held:
        """Return (mask * P) V, the mask folded into the shifted values: a level of v, then one of both.

        Args:
            p: (batch, heads, n, n).
            v: (batch, heads, n, d_h).
            mask: (n, n) or None.
        """
        P, V = p.value, v.value
        n = P.shape[-1]
        factors = np.ones((n, n)) if mask is None else mask
        level = min(p.level, self._lower(v.level))
        mixed = (factors * P) @ V
        shifted = self.noise.key_switch**2 * ((factors * P) ** 2).sum(axis=-1, keepdims=True)
        rounded = (P**2).sum(axis=-1, keepdims=True) * self.noise.rescale**2 + (P**2) @ V**2 * self.noise.encode**2
        variance = shifted + rounded + n * self.noise.rescale**2 + (n - 1) * self.noise.key_switch**2
        bias = mixed * (self.drifts[v.level] + self.drifts[level])

        def pull(gradient: Array) -> tuple[Array, ...]:
            return factors * (gradient @ np.swapaxes(V, -1, -2)), np.swapaxes(factors * P, -1, -2) @ gradient

        return self._made(mixed, self._lower(level), variance, bias, (p, v), pull)

    def mean(self, x: Held) -> Held:
        """Return the mean over tokens, (batch, d) of (batch, n, d): rotations only, 1/n goes into what follows."""
        n = x.value.shape[1]
        variance = np.array((n - 1) * self.noise.key_switch**2 / n**2)

        def pull(gradient: Array) -> tuple[Array, ...]:
            return (np.broadcast_to(gradient[:, None] / n, (len(gradient), n, gradient.shape[-1])),)

        return self._made(x.value.mean(axis=1), x.level, variance, np.array(0.0), (x,), pull)

    def rearranged(self, x: Held, value: Array, pull: Pull) -> Held:
        """Return the same numbers in other places, for which nothing is done."""
        index = self.tape.add(
            Node(shape=value.shape, variance=np.array(0.0), bias=np.array(0.0), parents=(x.node,), pull=pull)
        )
        return Held(value=value, level=x.level, node=index)

    def polynomial(self, x: Held, program: Program) -> Held:
        """Return the program's polynomial; x holds node 0.

        Args:
            x: any shape.
            program: what to do.
        """
        values, nodes = [x.value], [x]
        for step in program.steps:
            parents = [node for node, _ in (*step.added, *step.weights)]
            parents = [*(step.product or ()), *parents]
            exact = value(step, values)
            level = min(nodes[index].level for index in parents)
            product = step.product is not None and step.factor * values[step.product[0]] * values[step.product[1]]
            if step.product is not None:
                start = min(nodes[index].level for index in step.product)
                bias = np.asarray(product) * self.drifts[start]
                variance, level = np.array((step.factor * self.noise.rescale) ** 2), min(level, self._lower(start))
            elif step.weights:
                start = min(nodes[index].level for index, _ in step.weights)
                bias = (exact - step.constant) * self.drifts[start]
                squares = sum((values[index] ** 2 for index, _ in step.weights), np.zeros_like(exact))
                variance = self.noise.encode**2 * squares + self.noise.rescale**2
                level = self._lower(start)
            else:
                variance, bias = np.array(0.0), np.array(0.0)
            made = self._made(exact, level, variance, bias, tuple(nodes[i] for i in parents), _pull(step, values))
            values.append(made.value)
            nodes.append(made)
        return nodes[-1]

    def _shift_variance(self, x: Array) -> Array:
        return self.noise.key_switch**2 + self.noise.rescale**2 + self.noise.encode**2 * x**2

    def _lower(self, level: int) -> int:
        if level < 1:
            raise BadInput("level", level, "has no product left", "place a bootstrap before, or give more levels")
        return level - 1

    def _made(
        self, exact: Array, level: int, variance: Array, bias: Array, parents: tuple[Held, ...], pull: Pull
    ) -> Held:
        made = exact
        if self.rng is not None:
            made = exact + bias + np.sqrt(variance) * self.rng.standard_normal(exact.shape)
            variance = bias = np.array(0.0)  # drawn already: only a machine without noise predicts it
        else:
            indices = tuple(parent.node for parent in parents)
            node = Node(shape=exact.shape, variance=variance, bias=bias, parents=indices, pull=pull)
            return Held(value=made, level=level, node=self.tape.add(node))
        return Held(value=made, level=level, node=-1)


def _pull(step: Step, values: list[Array]) -> Pull:
    def pull(gradient: Array) -> tuple[Array, ...]:
        parts = []
        if step.product is not None:
            a, b = step.product
            parts += [step.factor * gradient * values[b], step.factor * gradient * values[a]]
        parts += [sign * gradient for _, sign in step.added]
        parts += [weight * gradient for _, weight in step.weights]
        return tuple(parts)

    return pull
