"""Starts that already agree with what nearly hard attention shows.

Where attention is nearly hard, row i of `Y` is nearly the token `pi(i)` it attends to. Then

- rows that are nearly equal attend to the same token, and others do not;
- `(Y W Y^T)_ij` is nearly the score `S_{pi(i), pi(j)}`, whose largest entry in its row is at `pi(pi(i))`; so the row's
  largest entry is at a j with `pi(j) = pi(pi(i))`, and `j = pi(i)` is one of these.

Assignments are drawn by both rules, tokens that no row shows are drawn from the prior, and of very many such guesses
those with the smallest loss are kept. Each costs only two products of n x n matrices.
"""

import math

import torch
from torch import Tensor

from unmask.inversion.reduced import ReducedProblem

LEVELS = 12  # how near rows must be to count as equal, drawn anew this often
BLIND = 0.3  # share of assignments drawn without looking at the scores
UNSHOWN = 0.15  # share of groups that stand for no single token
WARMTH = 2.0  # divides the scores: soft rows make them inexact


def gaussian(problem: ReducedProblem, count: int, scale: float, generator: torch.Generator) -> Tensor:
    """Return tokens with entries of deviation `scale` in d dimensions, drawn in the span (count x n x n)."""
    n, d = problem.basis.shape
    kept = scale * math.sqrt(d / n)
    return kept * torch.randn(count, n, n, generator=generator, dtype=problem.seen.dtype)


def informed(problem: ReducedProblem, count: int, scale: float, generator: torch.Generator) -> Tensor:
    """Return guesses (count x n x n) drawn by the rules above, not yet selected."""
    rows, n = problem.seen, problem.size
    apart = torch.cdist(rows, rows)
    scores = torch.log_softmax(rows @ problem.core @ rows.mT / WARMTH, -1)
    widest = float(apart.max())
    each = -(-count // LEVELS)
    guesses = gaussian(problem, each * LEVELS, scale, generator)
    for level in range(LEVELS):
        near = widest * 10 ** (-4 * float(torch.rand((), generator=generator)))
        part = guesses[level * each : (level + 1) * each]
        _assign(part, _groups(apart <= near), rows, scores, generator)
    return guesses[:count].reshape(count, n, n)


def _assign(guesses: Tensor, groups: list[list[int]], rows: Tensor, scores: Tensor, generator: torch.Generator) -> None:
    """Put each group's mean at a token of its own, in place."""
    count, n = guesses.shape[:2]
    guess = torch.arange(count)
    taken = torch.zeros(count, n, dtype=torch.bool)
    blind = torch.rand(count, 1, generator=generator) < BLIND
    for place in torch.randperm(len(groups), generator=generator).tolist():
        members = groups[place]
        chance = scores[members].mean(0).expand(count, n).masked_fill(blind, 0).masked_fill(taken, -torch.inf)
        noise = -torch.log(-torch.log(torch.rand(count, n, generator=generator, dtype=rows.dtype).clamp_min(1e-12)))
        label = (chance + noise).argmax(1)
        shown = torch.rand(count, generator=generator) >= UNSHOWN
        guesses[guess[shown], label[shown]] = rows[members].mean(0)
        taken[guess[shown], label[shown]] = True


def _groups(near: Tensor) -> list[list[int]]:
    """Return the connected components of a symmetric relation."""
    groups: list[list[int]] = []
    left = set(range(len(near)))
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = {j for i in edge for j in near[i].nonzero().flatten().tolist()} - group
        left -= group
        groups.append(sorted(group))
    return groups


def smallest(problem: ReducedProblem, guesses: Tensor, keep: int) -> Tensor:
    """Return the `keep` guesses of smallest residual, best first."""
    loss = torch.cat([problem.residual(part).square().sum(1) for part in guesses.split(4096)])
    return guesses[loss.nan_to_num(nan=torch.inf).argsort()[:keep]]
