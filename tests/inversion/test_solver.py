from itertools import islice

import pytest
import torch

from tests.inversion.problems import elsewhere, gaussian
from unmask.errors import BadInput
from unmask.inversion.levenberg import begin, descend
from unmask.inversion.matrix_free import descend_from
from unmask.inversion.reduced import reduce
from unmask.inversion.search import Effort, search
from unmask.inversion.solver import recover, solve
from unmask.inversion.starts import gaussian as draws
from unmask.inversion.starts import informed


def generator(seed=77):
    # Never the problem's own seed: the attack's first draws would be its tokens.
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("d", "n", "seed"), [(8, 4, 0), (6, 3, 1)])
def test_hard_attention_of_gaussian_tokens_is_inverted(d, n, seed):
    problem, x = gaussian(d, n, seed)
    found = next(answer for answer in islice(solve(problem, generator()), 12) if answer.exact)
    assert found.route == "reduced"
    assert torch.equal(found.answers[0], found.x)
    assert found.share > 0.5
    assert (found.x - x).norm() < 1e-6 * x.norm()
    assert found.loss < 1e-20


def test_recovery_ends_at_its_limit_with_the_best_answer():
    problem, x = gaussian(4, 2, 0)
    ticks = iter(range(100))
    found = recover(problem, generator(), seconds=3.0, clock=lambda: float(next(ticks)))
    assert next(ticks) == 4
    assert (found.x - x).norm() < 1e-6 * x.norm()


def test_plain_descent_from_gaussian_starts_does_not_get_there():
    problem, x = gaussian(8, 4, 0)
    batch = list(descend_from(problem, draws_like(x, 8), steps=60, ridge=0.0))[-1]
    assert ((batch.x - x).flatten(1).norm(dim=1) / x.norm()).min() > 1e-2


def draws_like(x, count):
    return torch.randn(count, *x.shape, dtype=x.dtype, generator=generator())


def test_same_generator_same_answer():
    problem, _ = gaussian(4, 2, 1)
    first, second = (next(solve(problem, generator(5))) for _ in range(2))
    assert torch.equal(first.x, second.x)


def test_an_output_that_no_input_has_is_not_called_exact():
    problem, _ = gaussian(4, 2, 2)
    moved = type(problem)(W=problem.W, V=problem.V, B=problem.B + 3 * problem.B.flip(0).square())
    assert all(not found.exact for found in islice(solve(moved, generator()), 2))


def test_starts_show_the_rows_of_the_output():
    small, _ = reduce(gaussian(8, 4, 0)[0])
    guesses = informed(small, 500, 1.0, generator())
    assert guesses.shape == (500, 4, 4)
    plain = draws(small, 500, 1.0, generator())
    nearest = [torch.cdist(g, small.seen.expand_as(g)).amin(-1).min() for g in (guesses, plain)]
    assert nearest[0] < 1e-6 < nearest[1]
    hidden = torch.softmax(guesses @ small.core @ guesses.mT, -1) @ guesses - small.seen
    blind = torch.softmax(plain @ small.core @ plain.mT, -1) @ plain - small.seen
    assert hidden.square().sum((1, 2)).min() < blind.square().sum((1, 2)).min()


def test_no_step_of_descent_raises_a_loss():
    small, _ = reduce(gaussian(6, 3, 1)[0])
    population = begin(small, draws(small, 16, 1.0, generator()))
    after = descend(small, population, 10)
    assert bool((after.loss <= population.loss).all())
    assert bool((after.loss < population.loss).any())


def test_a_search_round_shows_its_best_first():
    small, _ = reduce(gaussian(6, 3, 1)[0])
    effort = Effort(draws=600, starts=20, kept=10, children=10, offers=3, polished=5)
    for population in islice(search(small, generator(), effort=effort), 4):
        assert bool((population.loss.diff() >= 0).all())
        again = small.residual(population.guess).square().sum(1)
        assert torch.allclose(population.loss, again, rtol=1e-6, atol=1e-20)


@pytest.mark.parametrize(("d", "n", "d_v", "word"), [(3, 5, 3, "dimensions"), (5, 3, 4, "rank")])
def test_without_a_reduced_problem_the_full_one_is_descended_and_the_reason_given(d, n, d_v, word):
    problem, _ = gaussian(d, n, 0, d_v=d_v, scores=0.2)
    found = list(islice(solve(problem, generator()), 25))
    assert found[-1].route == "full"
    assert word in found[-1].reason
    assert found[-1].loss < 0.5 * found[0].loss


def test_matrix_free_descent_converges_from_near_and_its_ridge_ends_at_zero():
    problem, x = gaussian(6, 4, 0, scores=0.3)
    start = x + 0.02 * elsewhere(6, 4, 0, 2)
    batch = list(descend_from(problem, start, steps=90, iterations=80))[-1]
    assert float(batch.ridge.max()) == 0
    assert float(batch.loss.max()) < 1e-18
    near = x + 1e-4 * elsewhere(6, 4, 0, 2)
    batch = list(descend_from(problem, near, steps=30, iterations=80, ridge=0.0))[-1]
    assert (batch.x - x).norm() < 1e-6 * x.norm()


@pytest.mark.parametrize(("limit", "scale", "argument"), [(0.0, 1.0, "seconds"), (1.0, 0.0, "scale")])
def test_limits_are_checked(limit, scale, argument):
    with pytest.raises(BadInput) as error:
        recover(gaussian(4, 3, 0)[0], generator(), seconds=limit, scale=scale)
    assert error.value.argument == argument
    with pytest.raises(BadInput, match="rounds"):
        Effort(rounds=0)
