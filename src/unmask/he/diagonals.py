"""Linear maps between packed vectors, as one vector of weights per offset: y[i] = sum_k v_k[i] x[i + k] + bias.

Weights do not depend on the image, mostly not on the token, and masks not on the feature: vectors are arrays that
broadcast to the packing's shape, and stay small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unmask.errors import BadInput
from unmask.he.packing import Array, Packing, power


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagonals:
    """A map and the sums of rotations that end it.

    Args:
        terms: offset k to v_k, of four axes that broadcast to the packing's shape.
        bias: added before the fold, or None.
        fold: steps r_1, r_2, ...: y becomes y + rot(y, r) for each in turn, which costs no level.
    """

    terms: dict[int, Array]
    bias: Array | None = field(default=None)
    fold: tuple[int, ...] = field(default=())


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """An affine map between places for features.

    Args:
        weight: (width, width), zero where a place is empty.
        bias: (width,), or (tokens, width) if it depends on the token.
    """

    weight: Array
    bias: Array


def doublings(step: int, count: int) -> tuple[int, ...]:
    """Return the steps that sum `count` entries, a power of two, which lie `step` apart."""
    return tuple(step << bit for bit in range(count.bit_length() - 1))


def folded(matrices: Sequence[Matrix], packing: Packing) -> Diagonals:
    """Return maps of one input that is copied into every block; results lie side by side in blocks.

    With f blocks for a map, block j multiplies the input by the weights of the diagonals i = j mod f, where the
    input is, before it moves: y[r] = sum_j rot_{j (feature_step + block_step)} v_j. One product of vectors does f
    diagonals and log2(f) rotations sum them. The result is right in the first block of each group; the others
    hold rubbish that the next map has to leave out.

    Args:
        matrices: at most `blocks`.
        packing: the axes.

    Raises:
        BadInput: if there are more maps than blocks.
    """
    group = packing.blocks // power(len(matrices))
    if not group:
        raise BadInput("matrices", len(matrices), f"do not fit {packing.blocks} blocks", "take a larger ring")
    fan, places = min(group, packing.width), np.arange(packing.width)
    terms = {}
    for start in range(0, packing.width, fan):
        vector = np.zeros((packing.width, packing.blocks, 1, 1))
        for index, matrix in enumerate(matrices):
            for j in range(fan):
                rows, columns = (places - j) % packing.width, (places + start) % packing.width
                vector[:, index * group + j, 0, 0] = matrix.weight[rows, columns]
        terms[start * packing.feature_step] = vector
    bias = np.zeros((packing.width, packing.blocks, packing.rows, 1))
    for index, matrix in enumerate(matrices):
        bias[:, index * group, : packing.tokens, 0] = _columns(matrix.bias, packing)
    fold = doublings(packing.feature_step + packing.block_step, fan)
    return Diagonals(terms=_kept(terms), bias=bias, fold=fold)


def direct(matrices: Sequence[Matrix], packing: Packing) -> Diagonals:
    """Return the sum of maps of inputs in the first blocks of as many groups; all but the first block is zero."""
    group, places = packing.blocks // power(len(matrices)), np.arange(packing.width)
    # Places of absent tokens are emptied here, since a polynomial before may have filled them.
    present = np.ones((1, 1)) if packing.rows == packing.tokens else np.zeros((packing.rows, 1))
    present[: packing.tokens] = 1.0
    terms = {}
    for index, matrix in enumerate(matrices):
        for shift in range(packing.width):
            vector = np.zeros((packing.width, packing.blocks, *present.shape))
            vector[:, 0] = matrix.weight[places, (places + shift) % packing.width][:, None, None] * present
            terms[shift * packing.feature_step + index * group * packing.block_step] = vector
    bias = np.zeros((packing.width, packing.blocks, packing.rows, 1))
    bias[:, 0, : packing.tokens, 0] = sum(_columns(matrix.bias, packing) for matrix in matrices)
    return Diagonals(terms=_kept(terms), bias=bias)


def copied(matrix: Matrix, packing: Packing) -> Diagonals:
    """Return a map from copies in every block to copies in every block."""
    places, terms = np.arange(packing.width), {}
    for shift in range(packing.width):
        values = matrix.weight[places, (places + shift) % packing.width]
        terms[shift * packing.feature_step] = values[:, None, None, None]
    bias = np.zeros((packing.width, 1, packing.rows, 1))
    bias[:, 0, : packing.tokens, 0] = _columns(matrix.bias, packing)
    return Diagonals(terms=_kept(terms), bias=bias)


def spread(block: int, packing: Packing) -> Diagonals:
    """Return the map from one block to copies in every block, the places of absent tokens left empty."""
    return _moved(block, [0] * packing.blocks, np.ones((packing.tokens, packing.tokens)), packing)


def shifted(block: int, first: int, mask: Array, packing: Packing) -> Diagonals:
    """Return the map from one block to shifts of it: block s gets token t + first + s (mod tokens) at place t.

    Args:
        block: the source.
        first: shift of the first block. Shifts of `tokens` and more are left out: they would count twice.
        mask: (tokens, tokens), factor for the token at place t that comes from place t'.
        packing: the axes.
    """
    return _moved(block, list(range(first, min(first + packing.blocks, packing.tokens))), mask, packing)


def _moved(block: int, shifts: Sequence[int], mask: Array, packing: Packing) -> Diagonals:
    terms: dict[int, Array] = {}
    for target, shift in enumerate(shifts):
        for token in range(packing.tokens):
            source = (token + shift) % packing.tokens
            if mask[token, source]:
                offset = (source - token) * packing.token_step + (block - target) * packing.block_step
                vector = terms.setdefault(offset % packing.slots, np.zeros((1, packing.blocks, packing.rows, 1)))
                vector[0, target, token, 0] = mask[token, source]
    return Diagonals(terms=terms)


def narrow(matrices: Sequence[Matrix], rows: int, weights: Array, packing: Packing) -> Diagonals:
    """Return maps of inputs in the first blocks of groups to a few features, to be summed by `narrow_fold`.

    Fewer than `width` results need no more diagonals than their number: row r of the matrix is used at every
    place f = r mod `rows`, and a fold over the features puts them together.

    Args:
        matrices: one per group; rows past `rows` are not used, and no bias is added.
        rows: places for results, a power of two.
        weights: (tokens,) factors of the tokens.
        packing: the axes.
    """
    places, group = np.arange(packing.width), packing.blocks // power(len(matrices))
    terms = {}
    for shift in range(rows):
        vector = np.zeros((packing.width, packing.blocks, packing.rows, 1))
        for index, matrix in enumerate(matrices):
            values = matrix.weight[places % rows, (places + shift) % packing.width]
            vector[:, index * group, : packing.tokens, 0] = values[:, None] * weights
        terms[shift * packing.feature_step] = vector
    return Diagonals(terms=_kept(terms))


def narrow_fold(groups: int, rows: int, packing: Packing) -> tuple[int, ...]:
    """Return the fold that ends `narrow` maps of up to so many groups."""
    count = power(groups)
    features = doublings(rows * packing.feature_step, packing.width // rows)
    return features + doublings(packing.blocks // count * packing.block_step, count)


def _columns(bias: Array, packing: Packing) -> Array:
    """Return (width, tokens)."""
    return np.broadcast_to(bias, (packing.tokens, packing.width)).T


def _kept(terms: dict[int, Array]) -> dict[int, Array]:
    """Leave out zero vectors, all but one."""
    kept = {offset: vector for offset, vector in terms.items() if np.any(vector)}
    return kept or dict([next(iter(terms.items()))])
