"""The attention problem solved from far away.

Where the reduced problem exists (`V` of full row rank, few enough tokens, independent rows of `B V^+`), it is searched
globally; otherwise matrix-free Levenberg-Marquardt descends from restarts around `B V^+`. Both yield ever better
answers and never end by themselves; `recover` adds a limit.
"""

import math
import time
from collections.abc import Callable, Iterator
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
WAIT = 12  # rounds without news, beside twice as many as it took, after which alternatives are no longer sought


@dataclass(frozen=True, kw_only=True)
class Solution:
    """One answer.

    Args:
        x: recovered tokens (d x n).
        loss: the published loss at `x`.
        exact: whether nothing but rounding remains of the residual.
        surprise: minus the log posterior of an exact answer, up to a constant; infinity for an inexact one.
        share: posterior share of `x` among the exact answers found; 0 if there is none.
        answers: exact answers found so far, the likeliest first.
        route: `reduced` or `full`.
        reason: why the reduced problem was not used; empty if it was.
    """

    x: Tensor
    loss: float
    exact: bool
    surprise: float
    share: float
    answers: tuple[Tensor, ...]
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
    problem: AttentionProblem,
    generator: torch.Generator,
    *,
    seconds: float = 60.0,
    scale: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
) -> Solution:
    """Return the best answer within a time limit, sooner if it is exact and looking on brought nothing better.

    Args:
        problem: weights and output.
        generator: source of all draws.
        seconds: time limit; a round that began before it is finished.
        scale: standard deviation of a token's entries, as far as it is known.
        clock: what tells the time, such as `time.process_time` on a machine with other work.

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
    began = clock()
    answers = solve(problem, generator, scale)
    best, count, news = next(answers), 1, 1
    while not (best.exact and count >= 3 * news + WAIT) and clock() - began < seconds:
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
        _collect(problem, small, population, scale, exact)
        ranked = sorted(exact, key=lambda e: e[0])
        surprise = ranked[0][0] if ranked else float("inf")
        guess = ranked[0][1] if ranked else nearest[1]
        x = small.tokens(guess)
        yield Solution(
            x=x,
            loss=float(problem.loss(x[None])),
            exact=bool(exact),
            surprise=surprise,
            share=1 / sum(math.exp(surprise - other) for other, _ in ranked) if ranked else 0.0,
            answers=tuple(small.tokens(other) for _, other in ranked),
            route="reduced",
        )


def _collect(
    problem: AttentionProblem,
    small: ReducedProblem,
    population: Population,
    scale: float,
    exact: list[tuple[float, Tensor]],
) -> None:
    """Add new exact answers: at rounding's level both as published and brought to one scale."""
    found = population.pick(population.loss <= max(ZERO, small.floor))
    found = found.pick(problem.loss(small.tokens(found.guess)) <= _rounding(problem))
    for guess in found.guess:
        if all((guess - other).norm() > SAME * guess.norm() for _, other in exact):
            surprise = float(small.surprise(guess[None], scale))
            if surprise == surprise:
                exact.append((surprise, guess))


def _rounding(problem: AttentionProblem) -> float:
    return (64 * torch.finfo(problem.B.dtype).eps) ** 2 * float(problem.B.square().sum())


def _full(problem: AttentionProblem, generator: torch.Generator, scale: float, reason: str) -> Iterator[Solution]:
    best: tuple[float, Tensor] | None = None
    zero = _rounding(problem)
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
                share=float(best[0] <= zero),
                answers=(best[1],) if best[0] <= zero else (),
                route="full",
                reason=reason,
            )
