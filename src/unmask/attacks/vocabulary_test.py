"""Test every token at every position against a span, without forming a single input vector."""

import torch
from torch import Tensor

from unmask.public import InputTable
from unmask.subspace import CANCELLATION, Subspace, span_distance

CLOSE = 1e-2
"""Distances below it are computed again, from the vectors themselves."""


def vocabulary_distances(
    table: InputTable,
    space: Subspace,
    positions: int,
    *,
    reference: Tensor | None = None,
    lift: Tensor | None = None,
) -> Tensor:
    """Return the span distance (V, n) of `x[t, i]` for every token t and position i < n.

    With the centred rows e of the token table, p of the positions, gain w, shift b and the norm's
    deviation s, `x = w (e + p) / s + b`, so

        s^2         = (|e|^2 + 2 e.p + |p|^2) / d + epsilon
        |x|^2       = (|we|^2 + 2 we.wp + |wp|^2) / s^2 + 2 (we.b + wp.b) / s + |b|^2
        |B^T x|^2   = the same with B^T(we), B^T(wp), B^T b

    and three products of (V, d) with (d, n) or (d, r) give all of it: O(V d (n + r)) in place of
    O(V d n r) for a projection of each vector. Differences of norms cancel near zero, so what
    comes close to the span or to the origin is computed again from the vectors themselves. The
    origin, where a token is its own reference, has distance 1.

    Args:
        table: closed form of the inputs.
        space: (d, r) basis.
        positions: n.
        reference: (d,) vector that is subtracted from every input, for gradients that show differences.
        lift: (d', d) linear map through which the inputs are seen; the basis is then (d', r).
    """
    token, place = table.token, _position_rows(table, positions)
    if table.centred:
        token, place = token - token.mean(1, keepdim=True), place - place.mean(1, keepdim=True)
    shift = table.bias if reference is None else table.bias - reference
    variance = _squares(token, place) / token.shape[1] + table.epsilon
    scale = variance.clamp_min(torch.finfo(variance.dtype).tiny).rsqrt()
    weighted, placed = token * table.weight, place * table.weight
    if lift is not None:
        weighted, placed, shift = weighted @ lift.T, placed @ lift.T, shift @ lift.T
    basis = space.half(token.dtype)
    whole = _quadratic(weighted, placed, shift, scale)
    inside = _quadratic(weighted @ basis, placed @ basis, shift @ basis, scale)
    distances = (1 - inside / whole.clamp_min(1e-20)).double()
    cancelled = whole < CANCELLATION * shift.square().sum()
    close = ((distances < CLOSE) | cancelled).nonzero()
    if len(close):
        rows = table.rows(close[:, 0], close[:, 1])
        rows = rows if reference is None else rows - reference
        rows = rows if lift is None else rows @ lift.T
        distances[close[:, 0], close[:, 1]] = span_distance(rows, space)
    return distances


def projected_distances(
    table: InputTable, space: Subspace, positions: int, *, reference: Tensor | None = None
) -> Tensor:
    """Return the same (V, n) by projecting every vector, as the published vocabulary stage does.

    Args:
        table: closed form of the inputs.
        space: (d, r) basis, every direction counting fully.
        positions: n.
        reference: (d,) vector that is subtracted from every input.
    """
    columns = []
    projector = (space.basis @ space.basis.T).to(table.token.dtype)
    for position in range(positions):
        rows = table.rows(torch.arange(len(table.token)), torch.tensor(position))
        rows = rows if reference is None else rows - reference
        rows = rows / rows.norm(dim=1, keepdim=True)
        columns.append((rows - rows @ projector).square().sum(1).double())
    return torch.stack(columns, 1)


def _position_rows(table: InputTable, positions: int) -> Tensor:
    if table.position is None:
        return torch.zeros(positions, table.token.shape[1], dtype=table.token.dtype)
    return table.position[:positions]


def _squares(token: Tensor, place: Tensor) -> Tensor:
    return token.square().sum(1, keepdim=True) + 2 * token @ place.T + place.square().sum(1)


def _quadratic(token: Tensor, place: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    linear = (token @ shift)[:, None] + place @ shift
    return _squares(token, place) * scale.square() + 2 * linear * scale + shift.square().sum()
