"""The attention problem solved from far away.

Where the reduced problem exists (`V` of full row rank, few enough tokens, independent rows of `B V^+`), it is searched
globally; otherwise matrix-free Levenberg-Marquardt descends from restarts around `B V^+`. Both yield ever better
answers and never end by themselves; `recover` adds a limit.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.inversion.levenberg import Population
from unmask.inversion.matrix_free import descend_from, restarts
from unmask.inversion.problem import AttentionProblem
from unmask.inversion.reduced import ReducedProblem, reduce
from unmask.inversion.search import SAME, search

LARGEST = 20  # tokens up to which Jacobians of the reduced problem are held
ZERO = 1e-18  # squared residual, brought to one scale, that counts as none
WAIT = 8  # rounds without news, beside as many as it took, after which alternatives are no longer sought


@dataclass(frozen=True, kw_only=True)
class Solution:
    """One answer.

    Args:
        x: recovered tokens (d x n).
        loss: the published loss at `x`.
        exact: whether nothing but rounding remains of the residual.
        surprise: minus the log posterior of an exact answer, up to a constant; infinity for an inexact one.
        alternatives: exact answers found so far, this one included.
        route: `reduced` or `full`.
        reason: why the reduced problem was not used; empty if it was.
    """

    x: Tensor
    loss: float
    exact: bool
    surprise: float
    alternatives: int
    route: str
    reason: str = ""


def solve(problem: AttentionProblem, generator: torch.Generator, scale: float = 1.0) -> Iterator[Solution]:
    """Yield the best answer so far after every round, without end.

    The published loss alone does not always decide: several X may have the same output. Of exact answers the one with
    the largest posterior share under Gaussian tokens is shown.

    Args:
        problem: weights and output.
        generator: source of all draws.
        scale: standard deviation of a token's entries, as far as it is known.

    Raises:
        BadInput: if the scale is not positive.
    """
    if not scale > 0:
        raise BadInput("scale", scale, "is not positive", "give the standard deviation of a token's entries")
    small, reason = reduce(problem)
    if small is not None and small.size <= LARGEST:
        yield from _reduced(problem, small, generator, scale)
    else:
        reason = reason or f"more than {LARGEST} tokens: Jacobians of the reduced problem would not fit"
        yield from _full(problem, generator, scale, reason)


def recover(
    problem: AttentionProblem, generator: torch.Generator, *, seconds: float = 60.0, scale: float = 1.0
) -> Solution:
    """Return the best answer within a time limit, sooner if it is exact and looking on brought nothing better.

    Raises:
        BadInput: if the limit or the scale is not positive.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> x, w, v = (torch.randn(3, k, generator=g, dtype=torch.float64) for k in (2, 3, 3))
        >>> b = torch.softmax(x.T @ w @ x, -1) @ x.T @ v
        >>> found = recover(AttentionProblem(W=w, V=v, B=b), g, seconds=5)
        >>> bool((found.x - x).norm() < 1e-6 * x.norm())
        True
    """
    if not seconds > 0:
        raise BadInput("seconds", seconds, "is not positive", "give a time limit in seconds")
    began = time.monotonic()
    answers = solve(problem, generator, scale)
    best, count, news = next(answers), 1, 1
    while not (best.exact and count >= 2 * news + WAIT) and time.monotonic() - began < seconds:
        found = next(answers)
        count += 1
        if (found.exact, -found.surprise) > (best.exact, -best.surprise):
            news = count
        best = found
    return best


def _reduced(
    problem: AttentionProblem, small: ReducedProblem, generator: torch.Generator, scale: float
) -> Iterator[Solution]:
    exact: list[tuple[float, Tensor]] = []
    nearest: tuple[float, Tensor] = (float("inf"), small.seen)
    for population in search(small, generator, scale):
        if float(population.loss[0]) < nearest[0]:
            nearest = float(population.loss[0]), population.guess[0]
        _collect(small, population, scale, exact)
        surprise, guess = min(exact, key=lambda e: e[0]) if exact else (float("inf"), nearest[1])
        x = small.tokens(guess)
        yield Solution(
            x=x,
            loss=float(problem.loss(x[None])),
            exact=bool(exact),
            surprise=surprise,
            alternatives=len(exact),
            route="reduced",
        )


def _collect(small: ReducedProblem, population: Population, scale: float, exact: list[tuple[float, Tensor]]) -> None:
    """Add new exact answers to the list; a residual at the rounding's own level counts against its answer."""
    n = small.size
    found = population.pick(population.loss <= max(ZERO, small.floor))
    for guess, loss in zip(found.guess, found.loss.tolist(), strict=True):
        if all((guess - other).norm() > SAME * guess.norm() for _, other in exact):
            noise = loss / max(ZERO, small.floor) * n * n / 2
            surprise = float(small.surprise(guess[None], scale)) + noise
            if surprise == surprise:
                exact.append((surprise, guess))


def _full(problem: AttentionProblem, generator: torch.Generator, scale: float, reason: str) -> Iterator[Solution]:
    best: tuple[float, Tensor] | None = None
    zero = (64 * torch.finfo(problem.B.dtype).eps) ** 2 * float(problem.B.square().sum())
    while True:
        for batch in descend_from(problem, restarts(problem, 8, scale, generator)):
            loss, place = batch.loss.min(0)
            if best is None or float(loss) < best[0]:
                best = float(loss), batch.x[place]
            yield Solution(
                x=best[1],
                loss=best[0],
                exact=best[0] <= zero,
                surprise=0.0 if best[0] <= zero else float("inf"),
                alternatives=int(best[0] <= zero),
                route="full",
                reason=reason,
            )
