"""Batched Levenberg-Marquardt with a curved step, for problems small enough to hold their Jacobian.

Near-hard attention makes the loss a bundle of curved valleys. Along one, a straight step is short: it must be damped
until it stays inside. The second derivative along the step is known in closed form, so that the step can bend with the
valley, `delta - (J^T J + damping)^-1 J^T r'' / 2`, at the price of one more back substitution.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from unmask.inversion.reduced import ReducedProblem

BEND = 0.75  # largest bend of a step against its length, beyond which second order says nothing
EASE, TIGHTEN = 5.0, 2.0
LOOSEST, TIGHTEST = 1e-20, 1e20
STUCK = 1e12  # damping at which steps are shorter than rounding
CHECK = 5  # steps between two looks at who has arrived


class Population(NamedTuple):
    """Guesses with their losses and dampings.

    Args:
        guess: R x n x n.
        loss: R, squared norm of the residual.
        damping: R.
    """

    guess: Tensor
    loss: Tensor
    damping: Tensor

    def pick(self, index: Tensor | slice) -> "Population":
        """Return the members that an index or a mask names."""
        return Population(self.guess[index], self.loss[index], self.damping[index])


def begin(problem: ReducedProblem, guess: Tensor, damping: float = 0.1) -> Population:
    """Return guesses (R x n x n) as a population that has not moved yet."""
    loss = problem.residual(guess).square().sum(1)
    return Population(guess, loss, torch.full_like(loss, damping))


def descend(problem: ReducedProblem, population: Population, steps: int, enough: float = 0.0) -> Population:
    """Return the population after a number of accepted or rejected steps; no loss grows.

    Args:
        problem: what to solve.
        population: where to begin.
        steps: steps for each member.
        enough: loss at which a member rests.
    """
    for done in range(0, steps, CHECK):
        moving = ((population.loss > enough) & (population.damping < STUCK)).nonzero().squeeze(1)
        if not len(moving):
            break
        part = _steps(problem, population.pick(moving), min(CHECK, steps - done))
        pairs = zip(population, part, strict=True)
        population = Population(*(whole.index_put((moving,), new) for whole, new in pairs))
    return population


def _steps(problem: ReducedProblem, population: Population, steps: int) -> Population:
    guess, loss, damping = population
    residual, jacobian = problem.residual(guess), problem.jacobian(guess)
    for _ in range(steps):
        normal = jacobian.mT @ jacobian
        normal.diagonal(dim1=1, dim2=2).add_(damping[:, None])
        factor, broken = torch.linalg.cholesky_ex(normal)
        flat = -torch.cholesky_solve(jacobian.mT @ residual.unsqueeze(-1), factor).squeeze(-1)
        bend = problem.bend(guess, flat.view_as(guess))
        curved = -0.5 * torch.cholesky_solve(jacobian.mT @ bend.unsqueeze(-1), factor).squeeze(-1)
        moved = guess + (flat + curved).view_as(guess)
        after = problem.residual(moved)
        lower = after.square().sum(1)
        fits = 2 * curved.norm(dim=1) <= BEND * flat.norm(dim=1)
        better = (lower < loss) & fits & (broken == 0)
        guess = torch.where(better[:, None, None], moved, guess)
        residual = torch.where(better[:, None], after, residual)
        loss = torch.where(better, lower, loss)
        damping = torch.where(better, damping / EASE, damping * TIGHTEN).clamp(LOOSEST, TIGHTEST)
        if bool(better.any()):
            jacobian = jacobian.index_put((better.nonzero().squeeze(1),), problem.jacobian(guess[better]))
    return Population(guess, loss, damping)
