"""Nonlinear least squares over an image's coordinates: `min ||r(w)||^2 + ridge ||w||^2`.

Two solvers of the same problem. `explore` needs products with the Jacobian alone, handles many
starts at once and lets the ridge go to zero: far from the solution a truncated step is a cautious
one. `settle` forms the Jacobian of one candidate and searches over all dampings at once: where the
problem is ill-conditioned, truncated steps crawl, and this is the one that reaches the bottom.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Residuals = Callable[[Tensor], Tensor]
"""Coordinates (C, channels, height, width) -> residuals (C, m)."""

ROUGH = 1e-4
"""Share of the squared gradient at which a linear system counts as solved: steps are re-linearised anyway."""
CHUNK = 64
"""Columns of the Jacobian that are computed at once; more fall out of the processor's cache."""
DAMPINGS = 16
"""Dampings that one step of `settle` tries, from the largest curvature down by factors of ten."""
LITTLE = 1e-3
"""A step that takes off less than this share of the loss is the last: what is left is noise or rounding."""
STRETCH = 0.1
"""Share of a step over which its second derivative is measured."""
BENT = 1.5
"""A correction longer than 3/4 of its step says that the path bends too much to be followed by a parabola."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tangent:
    """Residuals at some coordinates with products of their Jacobian, by differentiating a gradient once more."""

    point: Tensor
    residual: Tensor
    _graph: Tensor
    _cotangent: Tensor
    _pullback: Tensor

    @classmethod
    def at(cls, residuals: Residuals, w: Tensor) -> "Tangent":
        """Linearise at coordinates w."""
        point = w.detach().requires_grad_(True)
        with torch.enable_grad():
            graph = residuals(point)
            cotangent = torch.zeros_like(graph, requires_grad=True)
            (pullback,) = torch.autograd.grad(graph, point, cotangent, create_graph=True)
        return cls(point=point, residual=graph.detach(), _graph=graph, _cotangent=cotangent, _pullback=pullback)

    def forward(self, v: Tensor) -> Tensor:
        """Return `J v` (C, m)."""
        return torch.autograd.grad(self._pullback, self._cotangent, v, retain_graph=True)[0]

    def backward(self, y: Tensor) -> Tensor:
        """Return `J^T y`, shaped like the coordinates."""
        return torch.autograd.grad(self._graph, self.point, y, retain_graph=True)[0]


def explore(
    residuals: Residuals, w: Tensor, *, ridge: float, floor: float, steps: int, products: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield coordinates (C, ...) and their squared residuals (C,) after every step of Gauss-Newton.

    Each step solves `(J^T J + ridge) d = -J^T r - ridge w` by conjugate gradients and is halved until the
    regularised loss falls. The ridge is the prior's weight: it starts large and falls by ten after a
    full step, by two after a shortened one.

    Args:
        residuals: the problem.
        w: starts.
        ridge: first weight of the prior.
        floor: last weight of the prior.
        steps: number of steps.
        products: conjugate gradients' iterations in one step.
    """
    weight = torch.full((len(w),), ridge, dtype=w.dtype)
    w = w.detach()
    for _ in range(steps):
        tangent = Tangent.at(residuals, w)
        r = tangent.residual
        d = _solve(tangent, -tangent.backward(r) - _wide(weight) * w, weight, products)
        old = _squares(r) + weight * _squares(w)
        size, bad = torch.ones_like(weight), torch.ones_like(weight, dtype=torch.bool)
        trial, found = w, _squares(r)
        for _ in range(6):
            trial = w + _wide(size) * d
            with torch.no_grad():
                found = _squares(residuals(trial))
            bad = ~(found + weight * _squares(trial) < old)
            if not bool(bad.any()):
                break
            size = torch.where(bad, size / 2, size)
        w = torch.where(_wide(bad), w, trial)
        factor = torch.where(bad, 0.3, torch.where(size == 1, 0.1, torch.where(size >= 0.25, 0.5, 1.0)))
        weight = (weight * factor).clamp_min(floor)
        yield w, torch.where(bad, _squares(r), found)


def settle(
    residuals: Residuals, rough: Residuals, w: Tensor, *, ridge: float, steps: int
) -> Iterator[tuple[Tensor, float]]:
    """Yield coordinates (1, ...) and their squared residual after every step; end where no step helps.

    With `J^T J + ridge = Q diag(e) Q^T` the step of every damping is two products with Q, so all are tried.
    Each is also tried with half its acceleration `-(J^T J + damping)^-1 J^T r''` added, r'' being the
    second derivative along the step: valleys of a transformer bend, and a straight step leaves them.

    Args:
        residuals: the problem, in float64.
        rough: the problem in a format in which the Jacobian is cheap; it only has to give directions.
        w: where to begin, one candidate in float64.
        ridge: weight of the prior.
        steps: number of steps.

    Source: Transtrum and Sethna, "Improvements to the Levenberg-Marquardt algorithm", 2012, for the acceleration.
    """
    w = w.detach()
    with torch.no_grad():
        r = residuals(w)[0]
        old = float(r.square().sum() + ridge * w.square().sum())
        for _ in range(steps):
            step, total = _best_step(residuals, jacobian(rough, w).double(), w, r, ridge)
            if not total < old:
                return
            gain, w, old = 1 - total / old, w + step, total
            r = residuals(w)[0]
            yield w, float(r.square().sum())
            if gain < LITTLE:
                return


def jacobian(rough: Residuals, w: Tensor) -> Tensor:
    """Return the Jacobian (m, p) at one candidate w of p numbers, in float32.

    Args:
        rough: the residuals in float32.
        w: the candidate, (1, ...).
    """
    point = w.float()
    count = point.numel()
    rough(point)

    def column(tangent: Tensor) -> Tensor:
        return torch.func.jvp(rough, (point,), (tangent.view_as(point),))[1][0]

    parts = []
    for start in range(0, count, CHUNK):
        rows = torch.arange(start, min(start + CHUNK, count))
        unit = torch.zeros(len(rows), count)
        unit[torch.arange(len(rows)), rows] = 1
        parts.append(torch.func.vmap(column)(unit))
    return torch.cat(parts).T


def _best_step(residuals: Residuals, J: Tensor, w: Tensor, r: Tensor, ridge: float) -> tuple[Tensor, float]:
    flat = w.flatten()
    H = J.T @ J
    H.diagonal().add_(ridge)
    e, Q = torch.linalg.eigh(H)
    e = e.clamp_min(0)
    dampings = float(e[-1]) * 10.0 ** -torch.arange(DAMPINGS).double()
    inverse = 1 / (e[:, None] + dampings.clamp_min(1e-13 * float(e[-1])))
    steps = -(Q @ ((Q.T @ (J.T @ r + ridge * flat))[:, None] * inverse)).T

    def at(moves: Tensor) -> Tensor:
        return torch.cat([residuals(w + move.view_as(w)) for move in moves])

    second = 2 / STRETCH * ((at(STRETCH * steps) - r) / STRETCH - steps @ J.T)
    bend = -(Q @ ((Q.T @ (J.T @ second.T)) * inverse)).T
    straight = 2 * bend.norm(dim=1) <= BENT * steps.norm(dim=1)
    moves = torch.cat([steps, (steps + bend / 2)[straight]])
    totals = at(moves).square().sum(1) + ridge * (flat + moves).square().sum(1)
    totals = totals.nan_to_num(nan=float("inf"))
    best = int(totals.argmin())
    return moves[best].view_as(w), float(totals[best])


def _solve(tangent: Tangent, b: Tensor, weight: Tensor, products: int) -> Tensor:
    """Solve `(J^T J + weight) x = b` for each candidate by conjugate gradients."""
    x, rest, p = torch.zeros_like(b), b.clone(), b.clone()
    old = _squares(rest)
    enough = ROUGH * old
    for _ in range(products):
        if not bool((old > enough).any()):
            break
        image = tangent.backward(tangent.forward(p)) + _wide(weight) * p
        size = old / (p * image).flatten(1).sum(1).clamp_min(1e-38)
        x, rest = x + _wide(size) * p, rest - _wide(size) * image
        new = _squares(rest)
        p = rest + _wide(new / old.clamp_min(1e-38)) * p
        old = new
    return x


def _squares(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)


def _wide(x: Tensor) -> Tensor:
    return x[:, None, None, None]
