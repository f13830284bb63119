"""Read a first layer's keys and values: each row is an affine image of one token at one position."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.attacks.vocabulary_test import vocabulary_distances
from unmask.public import Component, InputTable, Place, PublicModel
from unmask.site import Signal, Site
from unmask.subspace import row_space

CLOSEST = 4
"""Candidates whose distance is computed again in float64: the closed form is a difference of large numbers."""

LOSS = 1e5
"""Condition number of an output projection up to which float32 leaves enough of what stood before it."""

_COMPONENTS = {Signal.KEY: Component.KEY, Signal.VALUE: Component.VALUE}


def row_map(model: PublicModel, site: Site) -> tuple[InputTable, Tensor, Tensor] | None:
    """Return table, weight (d_out, d_in) and bias (d_out,) with `row = weight x[t, i] + bias`, or None.

    Args:
        model: the public model.
        site: keys or values, whole or of one head.
    """
    place = place_of(model, site.layer, _COMPONENTS.get(site.signal))
    table = None if place is None else model.input_table(place)
    if place is None or table is None:
        return None
    weight, bias = model.affine(place)
    if site.head is None:
        return table, weight, bias
    width = model.activations(torch.zeros(1, 1, dtype=torch.long), [site])[site.name].shape[-1]
    part = slice(site.head * width, (site.head + 1) * width)
    return table, weight[part], bias[part]


def place_of(model: PublicModel, layer: int, component: Component | None) -> Place | None:
    """Return the weight of a component in a layer, or None.

    Args:
        model: the public model.
        layer: its index.
        component: which part, or None.
    """
    fits = (p for p in model.places if p.layer == layer and p.component is component and len(p.shape) == 2)
    return next(fits, None) if component is not None else None


def read_rows(
    table: InputTable, weight: Tensor, bias: Tensor, rows: Tensor, positions: Sequence[int], allowed: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the nearest token (m, p) and its squared relative distance (m, p) for each row at each position.

    With `y[t, i] = W (w (e_t + p_i)) / s_{t,i} + c`, where c holds all that depends on neither,

        ||y - a||^2 = |W w (e_t + p_i)|^2 / s^2 + 2 (W w (e_t + p_i)) . (c - a) / s + |c - a|^2,

    so that products of (V, d) with (d, m) and (d, p) test every token at every position for every row.

    Args:
        table: closed form of the inputs.
        weight: (d_out, d_in).
        bias: (d_out,).
        rows: (m, d_out) what was seen.
        positions: where a row may stand.
        allowed: token ids that may occur.
    """
    where = torch.tensor(positions)
    token = table.token[allowed]
    place = torch.zeros(len(where), token.shape[1]) if table.position is None else table.position[where]
    if table.centred:
        token, place = token - token.mean(1, keepdim=True), place - place.mean(1, keepdim=True)
    variance = _squares(token, place) / token.shape[1] + table.epsilon
    scale = variance.rsqrt()
    lifted, moved = (token * table.weight) @ weight.T, (place * table.weight) @ weight.T
    squares = _squares(lifted, moved) * scale.square()
    away = weight @ table.bias + bias - rows
    tokens = torch.zeros(len(rows), len(where), dtype=torch.long)
    distances = torch.zeros(len(rows), len(where), dtype=torch.float64)
    for index, gap in enumerate(away):
        linear = ((lifted @ gap)[:, None] + moved @ gap) * scale
        best = (squares + 2 * linear).topk(min(CLOSEST, len(allowed)), dim=0, largest=False).indices
        exact = table.rows(allowed[best], where).double() @ weight.T.double() + bias.double()
        squared = (exact - rows[index].double()).square().sum(-1) / rows[index].double().square().sum().clamp_min(1e-30)
        nearest = squared.min(0)
        tokens[index] = allowed[best.gather(0, nearest.indices[None])[0]]
        distances[index] = nearest.values
    return tokens, distances


def before_projection(model: PublicModel, site: Site, rows: Tensor, noise: float) -> tuple[Site, Tensor, float] | None:
    """Return the heads' outputs that a block's output comes from, or None where the projection loses some.

    The projection is a public affine map, `block = W heads + c`, so `heads = W^-1 (block - c)`, and noise of
    deviation s on each entry of the block becomes `s ||W^-1||_F / sqrt(d)` in the mean.

    Args:
        model: the public model.
        site: attention output after the projection.
        rows: (n, d) what was seen there.
        noise: deviation of the noise on each entry.

    Returns:
        The heads' site, their outputs (n, H d_h) and the deviation of the noise there.
    """
    place = place_of(model, site.layer, Component.ATTENTION_OUTPUT)
    if site.signal is not Signal.BLOCK or place is None:
        return None
    weight, bias = (part.double() for part in model.affine(place))
    sizes = torch.linalg.svdvals(weight)
    if weight.shape[0] < weight.shape[1] or float(sizes[0]) > LOSS * float(sizes[-1]):
        return None
    heads = torch.linalg.lstsq(weight, (rows.double() - bias).T).solution.T
    grown = noise * float(sizes.pow(-2).mean().sqrt())
    return Site(layer=site.layer, signal=Signal.HEADS), heads.to(rows.dtype), grown


def _squares(token: Tensor, place: Tensor) -> Tensor:
    return token.square().sum(1, keepdim=True) + 2 * token @ place.T + place.square().sum(1)


def head_distances(
    model: PublicModel, site: Site, rows: Tensor, positions: int, *, noise: float, most: int | None = None
) -> Tensor | None:
    """Return the span distance (V, n) of every token at every position, the mean over the site's heads, or None.

    `O_h = P_h V_h` with rows of P_h that sum to one: the value's bias passes through unchanged, and what is
    left of O_h spans the rows of `X W_h^T` while P_h is invertible and there are fewer rows than a head is wide.

    Args:
        model: the public model.
        site: attention outputs of heads in a first layer.
        rows: (n, d) what was seen there.
        positions: number of positions to test.
        noise: deviation of the noise on each entry.
        most: heads to use, the first ones; None for all.
    """
    place = place_of(model, site.layer, Component.VALUE)
    table = None if place is None else model.input_table(place)
    if place is None or table is None or site.signal is not Signal.HEADS:
        return None
    weight, bias = model.affine(place)
    count = model.heads if site.head is None else 1
    width = rows.shape[1] // count
    if len(weight) != model.heads * width or len(rows) >= width:
        return None  # heads share their values, or every vector of a head's width lies in the span
    total: Tensor | None = None
    used = min(count, most or count)
    for head in range(used):
        number = head if site.head is None else site.head
        part = slice(number * width, (number + 1) * width)
        seen = rows[:, head * width : (head + 1) * width] - bias[part]
        found = vocabulary_distances(table, row_space(seen, noise=noise), positions, lift=weight[part])
        total = found if total is None else total + found
    return None if total is None else total / used
