"""Tokens from attention probabilities alone, exactly, with a vocabulary.

Attention cancels a row's constant in a difference: for positions i, j, a of the same head

    log P_ij - log P_ia = <q_i, k_j - k_a>.

If some tokens are known (`[CLS]`, the begin token), a candidate v at an unknown position i is tested by all equations
that hold nothing else unknown:

    row i:           log P_ij - log P_ia = <q_v, k_j - k_a>      for known j and a, and for j = i with k_j = k_v,
    row b, known:    log P_bi - log P_ba = <q_b, k_v - k_a>      for each known b.

Each is one number per head. The whole vocabulary is ranked by their mean square; a token that satisfies them is known
and gives new equations for the rest. Under a causal mask those with zero probability drop out, and the search goes
from left to right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.inversion.identify import check_probabilities

Maps = Callable[[int, Tensor | None], tuple[Tensor, Tensor]]
"""Gives, for a position and candidates' numbers (m; None for all V), queries and keys (H x m x d_h each)."""

TINY = 1e-30  # probabilities below it have lost their digits


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens read from attention.

    Args:
        ids: one number a position; -1 where none satisfied its equations.
        misfit: root mean square misfit of each position's equations; 0 for anchors, infinity without equations.
        margin: misfit of the next best candidate over the best one's.
        error: largest difference between P and the probabilities that the tokens give; NaN if some are missing.
    """

    ids: Tensor
    misfit: Tensor
    margin: Tensor
    error: float


def read_tokens(p: Tensor, maps: Maps, anchors: Mapping[int, int], *, tolerance: float = 1e-3) -> Tokens:
    """Return the tokens at all positions of attention probabilities `p` (H x n x n).

    Args:
        p: probabilities of each head.
        maps: queries and keys of candidates, scaled so that scores are their inner products.
        anchors: position to known token.
        tolerance: largest misfit, in units of scores, of a token that is taken as known.

    Raises:
        BadInput: if `p` holds no probabilities or no anchor is given.
    """
    check_probabilities(p)
    heads, n = p.shape[0], p.shape[-1]
    if p.ndim != 3 or not anchors or not all(0 <= place < n for place in anchors):
        raise BadInput("anchors", dict(anchors), f"name no known token at one of {n} positions", "give [CLS] at 0")
    logs = torch.where(p > TINY, p, torch.full_like(p, torch.nan)).log()
    ids = torch.full((n,), -1)
    misfit, margin = torch.full((n,), torch.inf), torch.ones(n)
    known: dict[int, tuple[Tensor, Tensor]] = {}

    def know(place: int, token: int) -> None:
        q, k = maps(place, torch.tensor([token]))
        known[place], ids[place] = (q[:, 0], k[:, 0]), token

    for place, token in anchors.items():
        know(place, token)
        misfit[place] = 0
    open_, before = [i for i in range(n) if i not in known], -1
    while open_ and len(known) != before:
        before = len(known)
        for place in list(open_):
            score = _misfits(logs, place, *maps(place, None), known)
            least, second = torch.topk(score, 2, largest=False).values.tolist()
            misfit[place], margin[place] = least, second / max(least, 1e-30)
            if least <= tolerance:
                know(place, int(score.argmin()))
                open_.remove(place)
    return Tokens(ids=ids, misfit=misfit, margin=margin, error=_error(p, known, heads))


def _misfits(logs: Tensor, place: int, q: Tensor, k: Tensor, known: Mapping[int, tuple[Tensor, Tensor]]) -> Tensor:
    """Return the root mean square misfit (V) of all candidates at a position; infinity if nothing tests them."""
    total = torch.zeros(q.shape[1], dtype=q.dtype)
    count = 0
    own = (q * k).sum(-1)
    first = next(iter(known))
    base = torch.einsum("hvd,hd->hv", q, known[first][1])
    tests = [(logs[:, place, place] - logs[:, place, first], own - base)]
    for other, (their_q, their_k) in known.items():
        if other != first:
            seen = logs[:, place, other] - logs[:, place, first]
            tests.append((seen, torch.einsum("hvd,hd->hv", q, their_k) - base))
        anchor = _reference(logs, other, known)
        if anchor is not None:
            seen = logs[:, other, place] - logs[:, other, anchor]
            apart = (their_q * known[anchor][1]).sum(-1, keepdim=True)
            tests.append((seen, torch.einsum("hvd,hd->hv", k, their_q) - apart))
    for seen, given in tests:
        usable = torch.isfinite(seen)
        total += (given[usable] - seen[usable, None].to(given.dtype)).square().sum(0)
        count += int(usable.sum())
    return (total / count).sqrt() if count else torch.full_like(total, torch.inf)


def _reference(logs: Tensor, row: int, known: Mapping[int, tuple[Tensor, Tensor]]) -> int | None:
    """Return the known position that a row attends to most, over all heads."""
    weight = {a: float(logs[:, row, a].nan_to_num(nan=-torch.inf).min()) for a in known}
    best = max(weight, key=lambda a: weight[a])
    return best if weight[best] > -torch.inf else None


def _error(p: Tensor, known: Mapping[int, tuple[Tensor, Tensor]], heads: int) -> float:
    n = p.shape[-1]
    if len(known) < n:
        return float("nan")
    q = torch.stack([known[i][0] for i in range(n)], 1)
    k = torch.stack([known[i][1] for i in range(n)], 1)
    scores = (q @ k.mT).masked_fill(p == 0, -torch.inf)
    return float((torch.softmax(scores, -1) - p).abs().max())
