"""A plain network as steps on ciphertexts: attention, feed-forward and head.

Between layers a representation is copied into every block. Levels used by a block, p and q being those of its
polynomials: query, key and value together 1, their copies and shifts 1, scores p + 1, weighted values 1, output 1,
rise 1 + q, fall 1. The head and the last fall are one map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import copysign

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.he import diagonals
from unmask.he.activation import Activation, reduced
from unmask.he.builder import Builder
from unmask.he.diagonals import Diagonals, Matrix, doublings
from unmask.he.packing import Array, Packing, power
from unmask.he.program import names
from unmask.poly.network import Affine, Attention, FeedForward, Network

Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """A representation: what a ciphertext holds, times `scale`, and a map that was not applied yet.

    Args:
        name: the ciphertext.
        scale: its values were divided by this, so that a bootstrap can take them.
        pending: the embedding, which is folded into whatever reads the stream.
    """

    name: str
    scale: float = field(default=1.0)
    pending: Matrix | None = field(default=None)

    def before(self, matrix: Matrix) -> Matrix:
        """Return a map of the ciphertext that is `matrix` of the representation."""
        if self.pending is None:
            return Matrix(weight=matrix.weight * self.scale, bias=matrix.bias)
        bias = matrix.bias + self.pending.bias @ matrix.weight.T
        return Matrix(weight=matrix.weight @ self.pending.weight, bias=bias)

    def residual(self, builder: Builder, scale: float, layer: str) -> str:
        """Return the ciphertext of the representation itself divided by `scale`."""
        if self.pending is None:
            return self.name
        weight, bias = self.pending.weight / scale, self.pending.bias / scale
        if np.array_equal(weight, np.eye(len(weight))):
            vector = np.zeros((builder.packing.width, 1, builder.packing.rows, 1))
            vector[:, 0, : builder.packing.tokens, 0] = bias.T
            return builder.add_vector(layer, self.name, vector, f"{layer}.residual")
        moved = diagonals.copied(Matrix(weight=weight, bias=bias), builder.packing)
        return builder.linear(layer, self.name, [(f"{layer}.residual", moved)])[0]


def placed(affine: Affine, width: int, rows: Places | None = None, columns: Places | None = None) -> Matrix:
    """Return an affine map with its rows and columns at given places, by default in order from 0."""
    height, depth = affine.weight.shape
    down = np.arange(height) if rows is None else rows
    across = np.arange(depth) if columns is None else columns
    weight, bias = np.zeros((width, width)), np.zeros(width)
    weight[np.ix_(down, across)] = affine.weight
    bias[down] = affine.bias
    return Matrix(weight=weight, bias=bias)


def width_of(network: Network) -> int:
    """Return the places for features that a network needs."""
    heads = [power(b.attention.heads) * power(len(b.attention.query.bias) // b.attention.heads) for b in network.blocks]
    return max([power(network.width), power(network.inputs), *heads])


def attention(builder: Builder, x: Stream, part: Attention, layer: str, scale: float = 1.0) -> str:
    """Append attention and return its output, divided by `scale` and copied into every block."""
    packing, activation = builder.packing, reduced(part.activation)
    heads, each = power(part.heads), len(part.query.bias) // part.heads
    places = np.array([c * heads + h for h in range(part.heads) for c in range(each)])
    projections = [x.before(placed(affine, packing.width, places)) for affine in _balanced(part, activation)]
    query, keys, values = _shifts(builder, x.name, projections, part, layer)
    offset = np.zeros((packing.width, 1, 1, 1))
    for h in range(packing.width):
        if h % heads < part.heads:
            offset[h] = activation.gain * part.shift[h % heads] + activation.offset
    weights = []
    for index, key in enumerate(keys):
        room = f"{layer}.scores"
        product = builder.multiply(room, [(query, key)], f"{room}.{index}.product")
        step = heads * packing.feature_step
        summed = builder.fold(room, product, doublings(step, packing.width // heads), f"{room}.{index}.sum")
        scores = builder.add_vector(room, summed, offset, f"{room}.{index}")
        weights.append(builder.activate(f"{layer}.weights", scores, activation, f"{layer}.weights.{index}"))
    mixed = builder.multiply(f"{layer}.mixed", list(zip(weights, values, strict=True)), f"{layer}.mixed.product")
    mixed = builder.fold(f"{layer}.mixed", mixed, doublings(packing.block_step, packing.blocks), f"{layer}.mixed")
    scaled = Affine(weight=part.output.weight / scale, bias=part.output.bias / scale)
    output = diagonals.direct([placed(scaled, packing.width, columns=places)], packing)
    one = builder.linear(f"{layer}.output", mixed, [(f"{layer}.output.first", output)])[0]
    return builder.copies(f"{layer}.output", one, f"{layer}.output")


def rise(builder: Builder, x: Stream, part: FeedForward, layer: str) -> tuple[str, list[Affine]]:
    """Append the first half of a feed-forward part; return the activated units and the maps that end it.

    The hidden units lie in groups of `width`, each in a group of blocks of its own.

    Raises:
        BadInput: if there are more hidden units than places.
    """
    packing, activation = builder.packing, reduced(part.activation)
    hidden = len(part.rise.bias)
    cuts = [slice(start, min(start + packing.width, hidden)) for start in range(0, hidden, packing.width)]
    if len(cuts) > packing.blocks:
        remedy = f"take at most {packing.width * packing.blocks}, or a larger ring"
        raise BadInput("hidden", hidden, f"units do not fit {packing.blocks} blocks", remedy)
    gained = Affine(
        weight=part.rise.weight * activation.gain, bias=part.rise.bias * activation.gain + activation.offset
    )
    parts = [Affine(weight=gained.weight[cut], bias=gained.bias[cut]) for cut in cuts]
    maps = diagonals.folded([x.before(placed(affine, packing.width)) for affine in parts], packing)
    risen = builder.linear(f"{layer}.rise", x.name, [(f"{layer}.rise", maps)])[0]
    activated = builder.activate(f"{layer}.activated", risen, activation, f"{layer}.activated")
    none = np.zeros_like(part.fall.bias)
    falls = [
        Affine(weight=part.fall.weight[:, cut] * activation.sign, bias=none if index else part.fall.bias)
        for index, cut in enumerate(cuts)
    ]
    return activated, falls


def fall(builder: Builder, activated: str, falls: Sequence[Affine], layer: str, scale: float = 1.0) -> str:
    """Append the second half; return its output, divided by `scale` and copied into every block."""
    scaled = [Affine(weight=affine.weight / scale, bias=affine.bias / scale) for affine in falls]
    maps = diagonals.direct([placed(affine, builder.packing.width) for affine in scaled], builder.packing)
    one = builder.linear(f"{layer}.output", activated, [(f"{layer}.output.first", maps)])[0]
    return builder.copies(f"{layer}.output", one, f"{layer}.output")


def network(builder: Builder, net: Network, scale: float) -> tuple[str, ...]:
    """Append a whole network on the input `x`; return the names of its logits.

    Args:
        builder: a circuit that is empty.
        net: what to lower.
        scale: representations between layers are divided by it.

    Raises:
        BadInput: if there is no block.
    """
    packing = builder.packing
    if not net.blocks:
        raise BadInput("network", 0, "has no block", "give at least one")
    embedding = net.embedding or Affine(weight=np.eye(net.width), bias=np.zeros(net.width))
    pending = placed(embedding, packing.width)
    bias = np.zeros((packing.tokens, packing.width))
    bias[:, : net.width] = net.position + embedding.bias
    x = Stream(name="x", pending=Matrix(weight=pending.weight, bias=bias))
    activated: str = ""
    falls: list[Affine] = []
    for index, block in enumerate(net.blocks):
        room = f"{index}.attention"
        added = attention(builder, x, block.attention, room, scale)
        total = builder.add(f"{room}.residual", [x.residual(builder, scale, f"{room}.residual"), added], f"{room}.x")
        x, room = Stream(name=total, scale=scale), f"{index}.feed_forward"
        activated, falls = rise(builder, x, block.feed_forward, room)
        if index < len(net.blocks) - 1 or len(net.head.bias) > packing.width:
            added = fall(builder, activated, falls, room, scale)
            x = Stream(name=builder.add(f"{room}.residual", [x.name, added], f"{room}.x"), scale=scale)
            activated = ""
    if len(net.head.bias) > packing.width:
        return _wide(builder, x, net)
    return (_head(builder, x, activated, falls, net),)


def _balanced(part: Attention, activation: Activation) -> tuple[Affine, Affine, Affine]:
    """Fold what the scores are multiplied by into query and key, half and half, so that neither loses precision."""
    gains = np.repeat(part.scale * activation.gain, len(part.query.bias) // part.heads)
    root = np.sqrt(np.abs(gains))
    return (
        _scaled(part.query, np.array([copysign(r, g) for r, g in zip(root, gains, strict=True)])),
        _scaled(part.key, root),
        _scaled(part.value, np.full(len(part.value.bias), activation.sign)),
    )


def _scaled(affine: Affine, factors: Array) -> Affine:
    return Affine(weight=affine.weight * factors[:, None], bias=affine.bias * factors)


def _shifts(
    builder: Builder, source: str, projections: Sequence[Matrix], part: Attention, layer: str
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Append query in every block, and key and value shifted by every number of tokens; return their names."""
    packing = builder.packing
    mask = np.ones((packing.tokens, packing.tokens))
    kept = mask if part.mask is None else part.mask
    query, keys, values = (
        f"{layer}.query",
        names(f"{layer}.key", packing.shifted),
        names(f"{layer}.value", packing.shifted),
    )
    room, firsts = f"{layer}.shifts", [index * packing.blocks for index in range(packing.shifted)]
    group = packing.blocks // 4

    def moved(block: int) -> list[list[tuple[str, Diagonals]]]:
        return [
            [(query, diagonals.spread(0, packing))],
            [(k, diagonals.shifted(block, first, mask, packing)) for k, first in zip(keys, firsts, strict=True)],
            [(v, diagonals.shifted(2 * block, first, kept, packing)) for v, first in zip(values, firsts, strict=True)],
        ]

    if group:
        name = f"{layer}.projections"
        builder.linear(name, source, [(name, diagonals.folded(projections, packing))])
        builder.linear(room, name, [pair for maps in moved(group) for pair in maps])
    else:
        called = [f"{layer}.projections.{kind}" for kind in ("query", "key", "value")]
        maps = [(name, diagonals.folded([m], packing)) for name, m in zip(called, projections, strict=True)]
        builder.linear(f"{layer}.projections", source, maps)
        for name, each in zip(called, moved(0), strict=True):
            builder.linear(room, name, each)
    return query, keys, values


def _head(builder: Builder, x: Stream, activated: str, falls: Sequence[Affine], net: Network) -> str:
    """Append W pool(x + fall(a)) + b as one map of x and one of a, so that the last fall takes no level."""
    packing, rows = builder.packing, power(len(net.head.bias))
    weights = _pooling(net, packing)
    own = x.before(placed(net.head, packing.width))
    parts = [(x.name, "stream", diagonals.narrow([own], rows, weights, packing))]
    bias = net.head.bias
    if activated:
        composed = [Affine(weight=net.head.weight @ f.weight, bias=net.head.bias) for f in falls]
        maps = [placed(affine, packing.width) for affine in composed]
        parts.append((activated, "hidden", diagonals.narrow(maps, rows, weights, packing)))
        bias = bias + net.head.weight @ falls[0].bias
    terms = [builder.linear("head", name, [(f"head.{called}", each)])[0] for name, called, each in parts]
    total = builder.add("head", terms, "head.sum") if len(terms) > 1 else terms[0]
    fold = diagonals.narrow_fold(max(1, len(falls) if activated else 1), rows, packing)
    fold += () if net.pooling in {"all", "first"} else doublings(packing.token_step, packing.rows)
    summed = builder.fold("head", total, fold, "head.folded")
    vector = np.zeros((packing.width, packing.blocks, packing.rows, 1))
    vector[: len(bias), 0, : packing.tokens, 0] = bias[:, None]
    return builder.add_vector("head", summed, vector, "logits")


def _pooling(net: Network, packing: Packing) -> Array:
    weights = np.zeros(packing.tokens)
    match net.pooling:
        case "mean":
            weights[:] = 1 / packing.tokens
        case "all":
            weights[:] = 1.0
        case "first":
            weights[0] = 1.0
        case "last":
            weights[-1] = 1.0
    return weights


def _wide(builder: Builder, x: Stream, net: Network) -> tuple[str, ...]:
    """Append a head with more classes than places: groups in blocks, and several ciphertexts where they fill one."""
    packing, classes = builder.packing, len(net.head.bias)
    share = packing.tokens if net.pooling == "mean" else 1
    cuts = [slice(start, min(start + packing.width, classes)) for start in range(0, classes, packing.width)]
    # Empty groups at the end, so that all ciphertexts are read alike.
    cuts += [slice(0, 0)] * (-len(cuts) % min(packing.blocks, power(len(cuts))))
    outputs = []
    for index in range(0, len(cuts), packing.blocks):
        here = cuts[index : index + packing.blocks]
        parts = [Affine(weight=net.head.weight[cut] / share, bias=net.head.bias[cut] / share) for cut in here]
        maps = diagonals.folded([x.before(placed(affine, packing.width)) for affine in parts], packing)
        name = f"logits.{index // packing.blocks}"
        called = builder.linear("head", x.name, [(name + ".tokens", maps)])[0]
        fold = doublings(packing.token_step, packing.rows) if net.pooling == "mean" else ()
        outputs.append(builder.fold("head", called, fold, name))
    return tuple(outputs)
