"""Chebyshev series of a ciphertext: the fewest levels, and few products at that depth.

A series of degree below 2^m needs m levels, since T_k needs ceil(log2 k) and every coefficient one more unless
it is multiplied in early. Division by T_h for h = 2^(m-1), with T_{h+i} = 2 T_h T_i - T_{h-i}, gives
p = q + T_h r. The quotient r has to be ready one level before p, so that it is divided again, down to degree 1.
The remainder q has a level to spare: a weighted sum of the T_k does, as far as those below 2^b are at hand. The
products of one node are summed before they are relinearised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from unmask.errors import BadInput
from unmask.he.backend import Ciphertext, Evaluator
from unmask.poly.polynomial import Polynomial


@dataclass(frozen=True, kw_only=True)
class Node:
    """sum_k w_k T_k + c + sum_i T_{h_i} r_i, which is ready at `depth` levels.

    Args:
        depth: levels used.
        weights: degree k >= 1 to w_k.
        constant: c.
        products: (h_i, r_i).
    """

    depth: int
    weights: Mapping[int, float]
    constant: float
    products: tuple[tuple[int, "Node"], ...] = field(default=())

    @property
    def degrees(self) -> frozenset[int]:
        """The T_k that it needs."""
        mine = set(self.weights) | {h for h, _ in self.products}
        return frozenset(mine.union(*(node.degrees for _, node in self.products)))

    @property
    def size(self) -> int:
        """Products of ciphertexts, those of the T_k aside."""
        return sum(1 + node.size for _, node in self.products)


def levels(polynomial: Polynomial) -> int:
    """Return the levels that a polynomial uses.

    ceil(log2(degree + 1)), and one more if its interval is not (-1, 1) and its degree is above 1: the input is
    then mapped first. A circuit that folds this map into the step before saves that level.

    Raises:
        BadInput: if the polynomial is a constant, for which no ciphertext is needed.
    """
    used = len(_significant(polynomial)) - 1
    return used.bit_length() + (used > 1 and polynomial.interval != (-1.0, 1.0))


def plan(polynomial: Polynomial) -> Node:
    """Return how the series is put together: among the powers of two up to which T_k are made, the cheapest."""
    coefficients = _significant(polynomial)
    depth = (len(coefficients) - 1).bit_length()
    plans = [_tight(coefficients, depth, 2**bits) for bits in range(1, depth + 1)]
    return min(plans, key=lambda node: node.size + len(_closure(node.degrees)))


def products(polynomial: Polynomial) -> int:
    """Return how many products of two ciphertexts the evaluation takes."""
    node = plan(polynomial)
    return node.size + len(_closure(node.degrees))


def evaluate(evaluator: Evaluator, a: Ciphertext, polynomial: Polynomial) -> Ciphertext:
    """Return p(a) by the plan, in `levels(polynomial)` levels."""
    low, high = polynomial.interval
    coefficients = _significant(polynomial)
    if (low, high) != (-1.0, 1.0):
        gain, shift = 2 / (high - low), -(low + high) / (high - low)
        if len(coefficients) == 2:
            return evaluator.combine([a], [coefficients[1] * gain], coefficients[0] + coefficients[1] * shift)
        a = evaluator.combine([a], [gain], shift)
    node = plan(polynomial)
    terms = {1: a}
    for k in sorted(_closure(node.degrees)):
        terms[k] = _next(evaluator, terms, k)
    return _run(evaluator, node, terms, a.level - node.depth)


def _next(evaluator: Evaluator, terms: Mapping[int, Ciphertext], k: int) -> Ciphertext:
    """T_{2j} = 2 T_j^2 - 1 and T_{2j+1} = 2 T_{j+1} T_j - T_1."""
    upper, lower = terms[(k + 1) // 2], terms[k // 2]
    product = evaluator.multiply(upper, lower)
    twice = evaluator.add(product, product)
    return evaluator.subtract(twice, terms[1]) if k % 2 else evaluator.add_constant(twice, -1.0)


def _run(evaluator: Evaluator, node: Node, terms: Mapping[int, Ciphertext], level: int) -> Ciphertext:
    parts = []
    if node.weights:
        # Brought down first: the weights then cost as little as they can.
        chosen = [evaluator.drop(terms[k], level + 1) for k in node.weights]
        parts.append(evaluator.combine(chosen, list(node.weights.values()), node.constant))
    if node.products:
        pairs = [
            (evaluator.drop(terms[h], level + 1), _run(evaluator, inner, terms, level + 1))
            for h, inner in node.products
        ]
        parts.append(evaluator.multiply_sum(pairs))
    total = parts[0] if len(parts) == 1 else evaluator.add(*parts)
    return evaluator.add_constant(total, node.constant) if node.constant and not node.weights else total


def _tight(coefficients: Sequence[float], depth: int, babies: int) -> Node:
    """A series of degree below 2^depth, at that depth."""
    if depth == 1:
        return Node(depth=1, weights={1: coefficients[1]}, constant=coefficients[0])
    return _divided(coefficients, depth, 2 ** (depth - 1), babies)


def _loose(coefficients: Sequence[float], depth: int, babies: int) -> Node:
    """A series of degree below 2^(depth - 1), at that depth: a level to spare."""
    if len(coefficients) <= babies:
        weights = {k: c for k, c in enumerate(coefficients) if k and c}
        return Node(depth=depth, weights=weights, constant=coefficients[0])
    half = 2 ** ((len(coefficients) - 1).bit_length() - 1)
    quotient, remainder = _divide(coefficients, half)
    return _with(_loose(remainder, depth, babies), half, _loose(quotient, depth - 1, babies), quotient)


def _divided(coefficients: Sequence[float], depth: int, half: int, babies: int) -> Node:
    quotient, remainder = _divide(coefficients, half)
    base = _loose(remainder, depth, babies)
    if len(quotient) == 1:
        return _with(base, half, base, quotient)
    padded = list(quotient) + [0.0] * (half - len(quotient))
    return _with(base, half, _tight(padded, depth - 1, babies), quotient)


def _with(base: Node, half: int, inner: Node, quotient: Sequence[float]) -> Node:
    """Add T_half quotient; a quotient that is a number is a weight, and a zero one nothing."""
    if not any(quotient):
        return base
    if not any(quotient[1:]):
        weights = dict(base.weights) | {half: base.weights.get(half, 0.0) + quotient[0]}
        return Node(depth=base.depth, weights=weights, constant=base.constant, products=base.products)
    return Node(
        depth=base.depth,
        weights=base.weights,
        constant=base.constant,
        products=(*base.products, (half, inner)),
    )


def _divide(coefficients: Sequence[float], half: int) -> tuple[list[float], list[float]]:
    """Return r and q of p = T_half r + q, for a degree of at most 2 half - 1."""
    remainder = list(coefficients[:half])
    upper = coefficients[half:]
    for i, value in enumerate(upper):
        if i:
            remainder[half - i] -= value
    return [value if i == 0 else 2 * value for i, value in enumerate(upper)], remainder


@cache
def _closure(degrees: frozenset[int]) -> frozenset[int]:
    """The T_k, k > 1, that have to be made for those that are needed."""
    made: set[int] = set()
    waiting = [k for k in degrees if k > 1]
    while waiting:
        k = waiting.pop()
        if k not in made:
            made.add(k)
            waiting += [j for j in ((k + 1) // 2, k // 2) if j > 1]
    return frozenset(made)


def _significant(polynomial: Polynomial) -> tuple[float, ...]:
    coefficients = polynomial.coefficients
    while len(coefficients) > 1 and coefficients[-1] == 0:
        coefficients = coefficients[:-1]
    if len(coefficients) == 1:
        raise BadInput("polynomial", coefficients, "is a constant", "add it to the bias of the map before")
    return coefficients
