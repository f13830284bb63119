"""Global search on the reduced problem: from coarse to fine, and from what came nearest.

Two ideas make it work from far away.

**Resolution.** Brought to one scale at once, the residual of a guess is astronomically large wherever a small attention
is not yet right, and nothing leads downhill. So the residual is enlarged step by step: at level t only tokens that got
an attention of about t or more count. Tokens come in one after another, each into a population in which the earlier
ones are right, and the ways to place them add up instead of multiplying.

**Neighbours.** A local minimum is rarely wrong everywhere; most often one or two tokens sit in the wrong place. So the
search keeps a population of minima, redraws one token or two, exchanges tokens or shakes them, keeps those of very many
changes that have the smallest loss, and descends again.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.inversion.levenberg import Population, begin, descend
from unmask.inversion.reduced import ReducedProblem
from unmask.inversion.starts import gaussian, informed, smallest

SAME = 1e-2  # relative distance under which two guesses are one
WIDE = 3.0  # tokens longer than this many times their expected length have escaped
SHAKE = 0.5  # deviation of a shake, in those of the prior
GENTLE = 1e-6  # resolution, relative to the largest direction, at which an answer is settled
ENOUGH = 1e-14  # loss at a coarse resolution with which a guess goes on to the next
SETTLE = 5  # steps for it
STRIDE = 30.0  # ratio of two resolutions


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much the search does.

    Args:
        draws: starts that are drawn and looked at once.
        starts: starts that descend.
        kept: size of the population.
        children: changes that descend in a round.
        offers: changes drawn for each one that descends.
        rounds: rounds at each resolution.
        last: further rounds at the finest.
        steps: Levenberg-Marquardt steps in a round.
        polished: guesses that are polished and shown after a round.

    Raises:
        BadInput: if a number is not positive.
    """

    draws: int = 40_000
    starts: int = 384
    kept: int = 160
    children: int = 224
    offers: int = 24
    rounds: int = 2
    last: int = 6
    steps: int = 20
    polished: int = 24

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise BadInput(name, value, "is below 1", "give a positive number")

    @classmethod
    def of(cls, tokens: int) -> "Effort":
        """Return an effort whose rounds take seconds: a step costs `tokens^6`, so that larger populations shrink."""
        share = min(1.0, (6 / tokens) ** 3)
        return cls(
            starts=max(24, round(384 * share)),
            kept=max(16, round(160 * share)),
            children=max(16, round(224 * share)),
            polished=max(4, round(24 * share)),
            offers=24 if tokens <= 6 else 200,
        )


def search(
    problem: ReducedProblem, generator: torch.Generator, scale: float = 1.0, effort: Effort | None = None
) -> Iterator[Population]:
    """Yield after every round the best guesses, polished and measured at full resolution, without end.

    Args:
        problem: what to solve.
        generator: source of all draws.
        scale: standard deviation of a token's entries, as far as it is known.
        effort: how much to do; by the number of tokens if not given.
    """
    effort = effort or Effort.of(problem.size)
    while True:
        finalists: Population | None = None
        guess: Tensor | None = None
        for level in levels(problem):
            coarse = problem.coarse(level)
            if guess is None:
                drawn = informed(problem, effort.draws, scale, generator)
                guess = smallest(coarse, drawn, effort.starts)
            population = _sorted(descend(coarse, begin(coarse, guess), effort.steps, ENOUGH))
            for _ in range(effort.rounds + (effort.last if level == 0 else 0)):
                parents = _distinct(coarse, population, effort.kept, scale)
                children = begin(coarse, _children(coarse, parents, effort, scale, generator))
                population = _sorted(descend(coarse, _join(parents, children), effort.steps, ENOUGH))
                best = begin(problem, population.guess[: effort.polished])
                finalists = best if finalists is None else _join(finalists, best)
                finalists = _distinct(
                    problem, _sorted(descend(problem, finalists, effort.steps)), effort.polished, scale
                )
                yield finalists
            guess = _distinct(coarse, population, effort.kept, scale).guess


def _polished(problem: ReducedProblem, population: Population, steps: int) -> Population:
    """Descend at full resolution, then at one where rounding is not enlarged beyond what a step can still lower."""
    sharp = descend(problem, population, steps)
    gentle = problem.coarse(GENTLE * float(problem.sizes[0]))
    settled = begin(problem, descend(gentle, begin(gentle, sharp.guess), SETTLE).guess)
    return _sorted(Population(settled.guess, settled.loss, sharp.damping))


def levels(problem: ReducedProblem) -> list[float]:
    """Return falling resolutions, from the second largest singular value of `L` to all of it (0)."""
    coarse, fine = float(problem.sizes[1]), float(problem.sizes[-1])
    count = max(1, math.ceil(math.log(coarse / fine) / math.log(STRIDE)))
    return [coarse * (fine / coarse) ** (i / count) for i in range(count)] + [0.0]


def _children(
    problem: ReducedProblem, parents: Population, effort: Effort, scale: float, generator: torch.Generator
) -> Tensor:
    count = effort.children * effort.offers
    place = (torch.rand(count, generator=generator).square() * len(parents.loss)).long()
    return smallest(problem, _changed(parents.guess[place], problem, scale, generator), effort.children)


def _changed(guess: Tensor, problem: ReducedProblem, scale: float, generator: torch.Generator) -> Tensor:
    """Redraw a token, redraw two, exchange two, show a row, move one and redraw it, or shake one."""
    count, n = guess.shape[:2]
    kind = torch.randint(6, (count,), generator=generator)
    one = torch.randint(n, (count,), generator=generator)
    two = torch.randint(n, (count,), generator=generator)
    fresh = gaussian(problem, count, scale, generator)
    shown = problem.seen[torch.randint(n, (count,), generator=generator)]
    out, at = guess.clone(), torch.arange(count)
    first, second = guess[at, one], guess[at, two]
    choices = torch.stack([fresh[:, 0], fresh[:, 0], second, shown, fresh[:, 0], first + SHAKE * fresh[:, 0]], 1)
    others = torch.stack([second, fresh[:, 1], first, second, first, second], 1)
    out[at, two] = others[at, kind]
    out[at, one] = torch.where((one == two)[:, None], fresh[:, 0], choices[at, kind])
    return out


def _join(a: Population, b: Population) -> Population:
    return Population(*(torch.cat(pair) for pair in zip(a, b, strict=True)))


def _sorted(population: Population) -> Population:
    return population.pick(population.loss.nan_to_num(nan=torch.inf).argsort())


def _distinct(problem: ReducedProblem, population: Population, keep: int, scale: float) -> Population:
    """Drop what has escaped to infinity, where attention is silent, and repetitions of a better guess."""
    d = problem.basis.shape[1]
    inside = population.guess.norm(dim=-1).amax(1) <= WIDE * scale * math.sqrt(d)
    kept = population.pick(inside) if bool(inside.any()) else population
    kept = kept.pick(slice(3 * keep))
    flat = kept.guess.flatten(1)
    apart = torch.cdist(flat, flat) / flat.norm(dim=1)
    repeats = ((apart < SAME) & torch.ones_like(apart, dtype=torch.bool).tril(-1)).any(1)
    return kept.pick(~repeats).pick(slice(keep))
