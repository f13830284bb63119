"""Levenberg-Marquardt that never holds the Jacobian: conjugate gradients on products with `J` and `J^T`.

A step of `(J^T J + (damping + ridge) I) delta = -J^T C - ridge X` costs a few products per iteration of conjugate
gradients, `O(n^2 d + n d^2)` each, and memory of the size of the guess. The ridge starts large, which keeps far starts
from running away, and is continued to zero, since a ridge that stays biases the answer.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.inversion.problem import AttentionProblem, Point

EASE, TIGHTEN = 3.0, 4.0
RIDGE, FADE = 1e-2, 0.6  # in units of ||B||^2 / ||X||^2, and the factor of every accepted step
GONE = 1e-12  # ridge, relative to its start, at which it is set to zero
TRUE_ENOUGH = 1e-3  # largest residual of conjugate gradients, relative; less while the loss is large


class Batch(NamedTuple):
    """Guesses with their losses.

    Args:
        x: R x d x n.
        loss: R, the published loss.
        ridge: R, what is left of the ridge.
    """

    x: Tensor
    loss: Tensor
    ridge: Tensor


def restarts(problem: AttentionProblem, count: int, scale: float, generator: torch.Generator) -> Tensor:
    """Return starts (count x d x n): `(B V^+)^T`, a convex combination of tokens, and noisy copies of it."""
    d, n = problem.shape
    centre = torch.linalg.lstsq(problem.V.mT, problem.B.mT, driver="gelsd").solution
    noise = torch.randn(count, d, n, generator=generator, dtype=centre.dtype) * scale
    noise[0] = 0
    return centre + noise


def descend_from(
    problem: AttentionProblem, x: Tensor, *, steps: int = 200, iterations: int = 50, ridge: float = RIDGE
) -> Iterator[Batch]:
    """Yield the batch after every step.

    Args:
        problem: weights and output.
        x: starts (R x d x n).
        steps: Levenberg-Marquardt steps.
        iterations: most iterations of conjugate gradients in a step.
        ridge: first ridge in units of `||B||^2 / ||X||^2`; 0 for none.
    """
    at = problem.at(x)
    loss = at.c.square().sum((-2, -1))
    first = ridge * problem.B.square().sum() / x.square().sum((-2, -1)).clamp_min(1e-12)
    left, damping = first.clone(), torch.full_like(loss, 1e-1)
    for _ in range(steps):
        slope = problem.vjp(at, at.c) + _wide(left) * at.x
        step = _conjugate(problem, at, -slope, damping + left, iterations)
        moved = problem.at(at.x + step)
        lower = moved.c.square().sum((-2, -1))
        before = loss + left * at.x.square().sum((-2, -1))
        better = lower + left * moved.x.square().sum((-2, -1)) < before
        at = Point(*(torch.where(_wide(better), new, old) for new, old in zip(moved, at, strict=True)))
        loss = torch.where(better, lower, loss)
        damping = torch.where(better, damping / EASE, damping * TIGHTEN).clamp(1e-20, 1e20)
        left = torch.where(better, left * FADE, left)
        left = torch.where(left > GONE * first, left, torch.zeros_like(left))
        yield Batch(at.x, loss, left)


def _conjugate(problem: AttentionProblem, at: Point, right: Tensor, shift: Tensor, iterations: int) -> Tensor:
    """Solve `(J^T J + shift I) delta = right` for the whole batch; a problem that is done no longer moves."""
    delta, rest = torch.zeros_like(right), right.clone()
    along, size = rest.clone(), rest.square().sum((-2, -1))
    goal = TRUE_ENOUGH**2 * size
    for _ in range(iterations):
        going = size > goal
        if not bool(going.any()):
            break
        image = problem.gauss_newton(at, along) + _wide(shift) * along
        rate = torch.where(going, size / (along * image).sum((-2, -1)).clamp_min(1e-300), torch.zeros_like(size))
        delta = delta + _wide(rate) * along
        rest = rest - _wide(rate) * image
        new = rest.square().sum((-2, -1))
        along = rest + _wide(torch.where(going, new / size.clamp_min(1e-300), torch.zeros_like(size))) * along
        size = new
    return delta


def _wide(each: Tensor) -> Tensor:
    return each[:, None, None]
