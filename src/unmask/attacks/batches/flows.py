"""Read every word's flow and where it may stand from a first layer's query gradient of a batch."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.public import InputTable

STEPS = 30
SMALLEST = 1e-12
SURE, TRACE = 0.95, 1e-3
"""A share this large tells a token's position; a share below the trace is then none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Flows:
    """Words of a batch, the positions that the span allows them, and what flows back through them.

    Args:
        tokens: (T,) distinct token ids.
        flow: (T, d_out) the sum of dq / s over a token's occurrences.
        words: (N,) for each allowed pair of token and position the index of its token.
        positions: (N,) and its position.
        shares: (N,) how much of its token's flow the pair takes in the sparsest explanation.
    """

    tokens: Tensor
    flow: Tensor
    words: Tensor
    positions: Tensor
    shares: Tensor

    def pruned(self) -> "Flows":
        """Return the flows without the pairs of tokens that are surely read elsewhere."""
        best = torch.zeros(len(self.tokens), dtype=self.shares.dtype)
        best = best.scatter_reduce(0, self.words, self.shares, "amax")
        kept = (self.shares >= TRACE) | (best[self.words] < SURE)
        return replace(self, words=self.words[kept], positions=self.positions[kept], shares=self.shares[kept])

    @property
    def ids(self) -> Tensor:
        """Token id of each pair (N,)."""
        return self.tokens[self.words]


def flows(table: InputTable, gradient: Tensor, ids: Tensor, positions: Tensor) -> Flows | None:
    """Split a query gradient into the flows of its words and share them out over positions.

    Inputs are `x = w (e_t + p_i) / s + b`, so the gradient is
    `G = sum_t A_t (w e_t)^T + sum_i C_i (w p_i)^T + D b^T` with `A_t` the sum of dq / s over the
    occurrences of token t, `C_i` over what stands at position i and D the sum of dq. Least squares
    gives all three. The pairs' own flows `f` obey `sum_i f_ti = A_t`, `sum_t f_ti = C_i` and
    `sum s f = D`; of the many solutions the one with the smallest sum of norms puts nearly all of
    a token's flow where the token stands, if it occurs once.

    Args:
        table: closed form of the inputs, with absolute positions.
        gradient: (d_out, d_in).
        ids: (N,) token of each pair that lies in the span.
        positions: (N,) its position.

    Returns:
        None where there are too many words for the width.
    """
    assert table.position is not None
    tokens, words = ids.unique(return_inverse=True)
    count, last = len(tokens), int(positions.max()) + 1
    if count + last + 1 >= min(gradient.shape):
        return None
    token, place = table.token[tokens].double(), table.position[:last].double()
    if table.centred:
        token, place = token - token.mean(1, keepdim=True), place - place.mean(1, keepdim=True)
    weight = table.weight.double()
    rows = torch.cat([token * weight, place * weight, table.bias.double()[None]])
    flow: Tensor = torch.linalg.lstsq(rows.T, gradient.double().T, driver="gelsd").solution
    raw = token[words] + place[positions]
    scale = (raw.square().mean(1) + table.epsilon).sqrt()
    incidence = torch.zeros(count + last + 1, len(ids), dtype=torch.float64)
    pair = torch.arange(len(ids))
    incidence[words, pair] = 1
    incidence[count + positions, pair] = 1
    incidence[-1] = scale / scale.mean()
    energy = _sparsest(incidence, torch.cat([flow[:-1], flow[-1:] / scale.mean()]))
    whole = torch.zeros(count, dtype=torch.float64).index_add(0, words, energy)
    shares = energy / whole[words].clamp_min(1e-300)
    return Flows(tokens=tokens, flow=flow[:count], words=words, positions=positions, shares=shares)


def _sparsest(incidence: Tensor, sums: Tensor) -> Tensor:
    """Return the energies (N,) of the rows of X with `incidence X = sums` and the smallest sum of row norms."""
    sums = sums / sums.norm().clamp_min(1e-300) * len(sums) ** 0.5
    weights = torch.ones(incidence.shape[1], dtype=sums.dtype)
    unit = torch.eye(len(incidence), dtype=sums.dtype)
    energy = weights
    for step in range(STEPS):
        ridge = max(1e-2 * 0.5**step, SMALLEST)
        moment = (incidence * weights) @ incidence.T
        solved = torch.linalg.solve(moment + ridge * moment.diagonal().mean() * unit, sums)
        energy = (weights[:, None] * (incidence.T @ solved)).square().sum(1)
        weights = (energy / energy.max().clamp_min(1e-300)).clamp_min(1e-20).sqrt()
    return energy
