"""Values with the noise that each operation adds, and what that noise does to the output.

Each operation leaves a node: its value, the variance and the bias that it injects, and how a gradient goes back
through it. One pass back from a logit then gives that logit's error to first order, with every correlation kept:

    bias = sum over nodes of gradient . bias,    variance = sum over nodes of gradient^2 . variance
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from unmask.poly.polynomial import Array

Pull = Callable[[Array], tuple[Array, ...]]
"""Gradient of a node to the gradients of its parents."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One result.

    Args:
        shape: of the value.
        variance: that the operation injects, broadcastable to the shape.
        bias: that it injects, likewise.
        parents: indices of the nodes it was made from.
        pull: gradient of this node to those of the parents.
    """

    shape: tuple[int, ...]
    variance: Array
    bias: Array
    parents: tuple[int, ...] = field(default=())
    pull: Pull = field(default=lambda gradient: ())


@dataclass(frozen=True, kw_only=True, eq=False)
class Tape:
    """Nodes in the order of the computation.

    Args:
        nodes: the results.
        names: of some of them, to their indices.
    """

    nodes: list[Node] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """Append a node and return its index."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def back(self, last: int, seed: Array, *, watch: dict[str, Array] | None = None) -> tuple[Array, Array]:
        """Return bias and variance of sum(seed * value of the node) for each item of the batch.

        Args:
            last: index of the node.
            seed: gradient at it, (batch, ...).
            watch: if given, the gradient at each named node is put in.
        """
        named = {} if watch is None else {index: name for name, index in self.names.items()}
        gradients: list[Array | None] = [None] * len(self.nodes)
        gradients[last] = seed
        bias, variance = np.zeros(len(seed)), np.zeros(len(seed))
        for index in range(last, -1, -1):
            gradient = gradients[index]
            if gradient is None:
                continue
            node = self.nodes[index]
            if watch is not None and index in named:
                watch[named[index]] = gradient
            axes = tuple(range(1, gradient.ndim))
            bias += (gradient * node.bias).sum(axis=axes)
            variance += (gradient**2 * node.variance).sum(axis=axes)
            for parent, part in zip(node.parents, node.pull(gradient), strict=True):
                known = gradients[parent]
                gradients[parent] = part if known is None else known + part
            gradients[index] = None
        return bias, variance
