"""How a polynomial is evaluated on ciphertexts: the products, in order, and what they cost.

Paterson and Stockmeyer in the Chebyshev basis. T_{i+j} = 2 T_i T_j - T_{|i-j|} gives the powers. With a giant T_g,
g <= d < 2 g, division is exact in the basis: c_{g+j} T_{g+j} = 2 c_{g+j} T_g T_j - c_{g+j} T_{g-j}, so p = q T_g + r
with q of degree d - g and r of degree below g. Polynomials below the number of `baby` steps are sums of plain
products. Few baby steps give the least depth, ceil(log2(d + 1)); more of them fewer products.

The affine map from the interval to [-1, 1] is free: it is folded into the weights before. So is, for degree 2, the
leading coefficient: p(x) = +- (a x + b)^2 + c is one product and one level.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log2

import numpy as np

from unmask.errors import BadInput
from unmask.poly.polynomial import Array, Polynomial


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node: factor * a * b + sum_k w_k node_k + constant.

    Args:
        product: the nodes a and b that are multiplied, or None.
        factor: of the product; 2 is an addition, -1 a subtraction: neither costs a level.
        added: nodes that are added with weight -1 or 1.
        weights: nodes to coefficients, plain products that cost a level; only without a product.
        constant: added at the end.
        depth: levels from the input to this node.
    """

    product: tuple[int, int] | None = None
    factor: int = 1
    added: tuple[tuple[int, int], ...] = field(default=())
    weights: tuple[tuple[int, float], ...] = field(default=())
    constant: float = 0.0
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Program:
    """Steps that evaluate a polynomial; node 0 is slope * x + offset, node i the i-th step.

    Args:
        steps: in an order in which they can be done.
        slope: of the affine map that is folded into the weights before.
        offset: of that map.
    """

    steps: tuple[Step, ...]
    slope: float
    offset: float

    @property
    def depth(self) -> int:
        """Levels that it takes."""
        return self.steps[-1].depth if self.steps else 0

    @property
    def products(self) -> int:
        """Products of two ciphertexts, each with a relinearisation."""
        return sum(step.product is not None for step in self.steps)

    @property
    def plain_products(self) -> int:
        """Products of a ciphertext with a number."""
        return sum(len(step.weights) for step in self.steps)

    def __call__(self, x: Array) -> Array:
        """Return the polynomial of x, step by step."""
        return self.nodes(x)[-1]

    def nodes(self, x: Array) -> list[Array]:
        """Return every node's values."""
        found = [self.slope * x + self.offset]
        for step in self.steps:
            found.append(value(step, found))
        return found


def value(step: Step, nodes: list[Array]) -> Array:
    """Return what a step computes from the nodes before it."""
    result = np.full_like(nodes[0], step.constant)
    if step.product is not None:
        result += step.factor * nodes[step.product[0]] * nodes[step.product[1]]
    for node, sign in step.added:
        result += sign * nodes[node]
    for node, weight in step.weights:
        result += weight * nodes[node]
    return result


def programs(polynomial: Polynomial) -> tuple[Program, ...]:
    """Return the programs of fewest products for each depth, the least depth first.

    Args:
        polynomial: of degree 1 or more.

    Raises:
        BadInput: if it is a constant.
    """
    # What a fit leaves of the coefficients that symmetry makes zero is rounding, and must cost nothing.
    size = float(np.abs(polynomial.coefficients).sum())
    coefficients = np.array([each if abs(each) > 1e-15 * size else 0.0 for each in polynomial.coefficients])
    degree = int(max(np.flatnonzero(coefficients), default=0))
    if degree < 1:
        raise BadInput("polynomial", polynomial.coefficients, "is constant", "put it into a bias")
    coefficients = coefficients[: degree + 1]
    # Completing the square cancels where it is nearly a line.
    if degree == 2 and abs(coefficients[1]) < 1e3 * abs(coefficients[2]):
        return (_square(coefficients, polynomial.interval),)
    found = [_build(coefficients, polynomial.interval, 2**bits) for bits in range(1, ceil(log2(degree + 1)) + 1)]
    kept: list[Program] = []
    for program in sorted(found, key=lambda each: (each.depth, each.products, each.plain_products)):
        if not kept or program.products < kept[-1].products:
            kept.append(program)
    return tuple(kept)


def program(polynomial: Polynomial, *, depth: int | None = None) -> Program:
    """Return the program of fewest products within a depth.

    Args:
        polynomial: of degree 1 or more.
        depth: levels at hand; by default as many as save a product.

    Raises:
        BadInput: if it takes more levels at least.
    """
    known = programs(polynomial)
    fitting = [each for each in known if depth is None or each.depth <= depth]
    if not fitting:
        raise BadInput("depth", depth, f"is below {known[0].depth}, the least for this polynomial", "allow more")
    return fitting[-1]


def least_depth(degree: int) -> int:
    """Return the levels that a polynomial of a degree takes at least: ceil(log2(d + 1)), 1 for a square.

    Args:
        degree: 1 or more.
    """
    return 1 if degree == 2 else ceil(log2(degree + 1))


def _square(coefficients: Array, interval: tuple[float, float]) -> Program:
    constant, linear, leading = (float(each) for each in coefficients)
    low, high = interval
    # With t in [-1, 1]: 2 c_2 t^2 + c_1 t + c_0 - c_2 = s (r t + m)^2 + rest, r^2 = 2 |c_2|.
    sign, root = (1, 1.0) if leading > 0 else (-1, -1.0)
    stretch = float(np.sqrt(2 * abs(leading)))
    middle = root * linear / (2 * stretch)
    step = Step(product=(0, 0), factor=sign, constant=constant - leading - root * middle**2, depth=1)
    slope = 2 / (high - low)
    offset = -(low + high) / (high - low)
    return Program(steps=(step,), slope=stretch * slope, offset=stretch * offset + middle)


def _build(coefficients: Array, interval: tuple[float, float], baby: int) -> Program:
    builder = _Builder(baby)
    final = builder.evaluate(coefficients)
    low, high = interval
    steps = builder.steps
    assert final == len(steps)
    return Program(steps=tuple(steps), slope=2 / (high - low), offset=-(low + high) / (high - low))


class _Builder:
    """Collects the steps; `powers` maps k to the node of T_k."""

    def __init__(self, baby: int) -> None:
        self.baby = baby
        self.steps: list[Step] = []
        self.powers: dict[int, int] = {1: 0}

    def depth(self, node: int) -> int:
        return self.steps[node - 1].depth if node else 0

    def add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps)

    def power(self, k: int) -> int:
        if k not in self.powers:
            # An even split keeps T_k at depth ceil(log2 k).
            i, j = k // 2, k - k // 2
            a, b = self.power(i), self.power(j)
            depth = max(self.depth(a), self.depth(b)) + 1
            added = ((self.power(j - i), -1),) if j > i else ()
            constant = 0.0 if j > i else -1.0
            self.powers[k] = self.add(Step(product=(a, b), factor=2, added=added, constant=constant, depth=depth))
        return self.powers[k]

    def evaluate(self, coefficients: Array) -> int:
        degree = int(max(np.flatnonzero(coefficients), default=0))
        if degree < self.baby:
            return self.combine({k: float(c) for k, c in enumerate(coefficients[: degree + 1]) if c})
        giant = self.baby
        while 2 * giant <= degree:
            giant *= 2
        quotient, rest = _divided(coefficients[: degree + 1], giant)
        if degree == giant and max(np.flatnonzero(rest), default=0) < self.baby:
            return self.combine({k: float(c) for k, c in enumerate(rest) if c} | {giant: float(coefficients[giant])})
        added: tuple[tuple[int, int], ...] = ()
        constant = 0.0
        if max(np.flatnonzero(rest), default=0) > 0:
            added = ((self.evaluate(rest), 1),)
        elif len(rest):
            constant = float(rest[0])
        a, b = self.evaluate(quotient), self.power(giant)
        depth = 1 + max(self.depth(a), self.depth(b), *(self.depth(node) - 1 for node, _ in added))
        return self.add(Step(product=(a, b), added=added, constant=constant, depth=depth))

    def combine(self, terms: Mapping[int, float]) -> int:
        weights = tuple((self.power(k), weight) for k, weight in terms.items() if k)
        depth = 1 + max((self.depth(node) for node, _ in weights), default=-1)
        return self.add(Step(weights=weights, constant=terms.get(0, 0.0), depth=depth))


def _divided(coefficients: Array, giant: int) -> tuple[Array, Array]:
    top = coefficients[giant:]
    quotient = 2 * top
    quotient[0] = top[0]
    rest = coefficients[:giant].copy()
    for j in range(1, len(top)):
        rest[giant - j] -= top[j]
    return quotient, rest
