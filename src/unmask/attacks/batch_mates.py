"""Tell which words of a batch share a sentence, from the first layer's query gradient alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.public import Component, InputTable, Place, PublicModel

CLEAR, TRACE = 0.2, 0.05
"""A share this close to one is a word read at one position; a share above `TRACE` may be an occurrence."""
STEPS = 15
SMALLEST = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Mates:
    """Words at positions, and how strongly each surely read word shares a sentence with them.

    Args:
        tokens: (N,) token ids; `positions` (N,) theirs.
        anchors: U, the first U pairs are words read at exactly one position.
        affinity: (U, N) in [0, 1].
    """

    tokens: Tensor
    positions: Tensor
    anchors: int
    affinity: Tensor

    def options(self, length: int) -> tuple[Tensor, ...]:
        """Return the tokens that may stand at each position below `length`."""
        return tuple(self.tokens[self.positions == i].unique() for i in range(length))

    def ranked(self, anchor: int, length: int, most: int) -> tuple[Tensor, ...]:
        """Return up to `most` tokens per position, the anchor's likeliest mates first.

        The anchor's own affinities and, weighted by them, those of its mates add up.
        """
        own = self.affinity[anchor]
        joint = own + own[: self.anchors] @ self.affinity
        joint[anchor] = float("inf")
        found = []
        for i in range(length):
            here = (self.positions == i).nonzero()[:, 0]
            found.append(self.tokens[here[joint[here].argsort(descending=True)]][:most])
        return tuple(found)


def mates(model: PublicModel, place: Place, gradient: Tensor, tokens: Tensor, positions: int) -> Mates | None:
    """Read positions and sentence mates of the words of a batch.

    Inputs are `x = w (e_t + p_i) / s + b`, so the query gradient is
    `G = sum_t A_t (w e_t)^T + sum_i C_i (w p_i)^T + D b^T` with `A_t` the sum of dq / s over the
    occurrences of token t and `C_i` over what stands at position i. Least squares gives both, and
    `C_i = sum_t S_ti A_t` gives S, zero or one for a token that occurs once: its position is read.

    The soft-max makes each dq a combination of its own sentence's keys with coefficients that sum
    to zero, in every head. The sparsest combination shared by all heads (focal underdetermined
    system solver, Gorodnitsky and Rao 1997, by groups) names the mates.

    Args:
        model: the public model.
        place: a first-layer query.
        gradient: (d_out, d_in).
        tokens: (T,) the words of the batch.
        positions: number of positions to consider.

    Returns:
        None where the layout does not allow the reading: another component, no absolute positions,
        or too many words for the width.
    """
    table = model.input_table(place)
    key = next(
        (p for p in model.places if p.layer == place.layer and p.component is Component.KEY and p.shape == place.shape),
        None,
    )
    if table is None or table.position is None or key is None or place.component is not Component.QUERY:
        return None
    if len(tokens) + positions + 1 >= min(gradient.shape):
        return None
    shares, flow = _shares(table, gradient.double(), tokens, positions)
    close = (shares.amax(1) - 1).abs() < CLEAR
    surely = close & ((shares.abs() > CLEAR + 0.1).sum(1) == 1)
    own = surely.nonzero()[:, 0]
    if not len(own):
        return None
    rest = (~surely).nonzero()[:, 0]
    special = torch.tensor([int(t) in model.vocabulary.special for t in tokens[rest]])
    where = (shares[rest].abs() > TRACE) | special[:, None]
    again = where.nonzero()
    words = torch.cat([tokens[own], tokens[rest][again[:, 0]]])
    places = torch.cat([shares[own].argmax(1), again[:, 1]])
    keys = _keys(model, key, table, words, places, _heads(model, place))
    return Mates(tokens=words, positions=places, anchors=len(own), affinity=_sparsest(keys, flow[own]))


def _shares(table: InputTable, gradient: Tensor, tokens: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Return S (T, positions) and A (T, d_out)."""
    assert table.position is not None
    token, place = table.token[tokens].double(), table.position[:positions].double()
    if table.centred:
        token, place = token - token.mean(1, keepdim=True), place - place.mean(1, keepdim=True)
    weight = table.weight.double()
    rows = torch.cat([token * weight, place * weight, table.bias.double()[None]])
    flow = torch.linalg.lstsq(rows.T, gradient.T, driver="gelsd").solution
    words, spots = flow[: len(tokens)], flow[len(tokens) : len(tokens) + positions]
    return torch.linalg.lstsq(words.T, spots.T, driver="gelsd").solution, words


def _heads(model: PublicModel, place: Place) -> int:
    same = (p.heads for p in model.places if p.layer == place.layer and p.component is Component.ATTENTION_OUTPUT)
    return max(same, default=1)


def _keys(model: PublicModel, key: Place, table: InputTable, words: Tensor, places: Tensor, heads: int) -> Tensor:
    """Return keys (heads, d_head + 1, N) of mean length one, with a row of ones for the zero sum."""
    weight, bias = model.affine(key)
    keys = table.rows(words, places).double() @ weight.double().T + bias.double()
    keys = keys.view(len(words), heads, -1)
    keys = keys / keys.norm(dim=2).mean()
    return torch.cat([keys, torch.ones(len(words), heads, 1, dtype=keys.dtype)], 2).permute(1, 2, 0).contiguous()


def _sparsest(keys: Tensor, flow: Tensor) -> Tensor:
    """Return the affinity (U, N): group weights of the sparsest combinations of keys that give each flow (U, d_out)."""
    heads, height, count = keys.shape
    target = flow.view(len(flow), heads, -1)
    target = torch.cat([target, torch.zeros(len(flow), heads, 1, dtype=target.dtype)], 2)
    target = target / target.norm(dim=(1, 2), keepdim=True).clamp_min(1e-300)
    weights = torch.ones(len(flow), count, dtype=keys.dtype)
    unit = torch.eye(height, dtype=keys.dtype)
    for step in range(STEPS):
        ridge = max(1e-2 * 0.3**step, SMALLEST)
        moment = torch.stack([(keys[h] * weights[:, None]) @ keys[h].T for h in range(heads)], 1)
        size = moment.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        solved = torch.linalg.solve(moment + ridge * size * unit, target[..., None])[..., 0]
        energy = torch.stack([(solved[:, h] @ keys[h]) * weights for h in range(heads)], 1).square().sum(1)
        weights = (energy / energy.amax(1, keepdim=True).clamp_min(1e-300)).clamp_min(1e-10).sqrt()
    return weights
