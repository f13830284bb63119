from itertools import islice

import pytest
import torch

from tests.inversion.problems import elsewhere, gaussian
from unmask.errors import BadInput
from unmask.inversion.newton import distance_ratios, loss_hessian, newton, output_jacobian


@pytest.mark.parametrize(("d", "n", "d_v"), [(3, 4, 5), (5, 2, 2)])
def test_assembled_derivatives_agree_with_autodiff(d, n, d_v):
    problem, _ = gaussian(d, n, 0, d_v=d_v, scores=0.3)
    x = elsewhere(d, n, 0, 1)
    at = problem.at(x)
    jacobian = torch.func.jacrev(lambda y: problem.output(y[None])[0])(x[0]).reshape(n * d_v, d * n)
    hessian = torch.func.hessian(lambda y: problem.loss(y[None])[0])(x[0]).reshape(d * n, d * n)
    assert (output_jacobian(problem, at) - jacobian).norm() <= 1e-9 * jacobian.norm()
    assert (loss_hessian(problem, at) - hessian).norm() <= 1e-9 * hessian.norm()


def test_near_a_solution_every_step_contracts_and_steps_become_newtons():
    problem, x = gaussian(4, 3, 1, scores=0.3)
    start = x + 1e-3 * elsewhere(4, 3, 1, 1)[0]
    steps = list(islice(newton(problem, start, ridge=0.0), 5))
    ratios = distance_ratios([s.x for s in steps[:4]], x)
    assert max(ratios) < 0.1
    assert ratios[1] < ratios[0]
    assert all(s.definite and s.sufficient_ridge == 0 for s in steps[:3])
    assert steps[2].epsilon < steps[0].epsilon < 0.5


def test_a_ridge_that_stays_moves_the_minimiser():
    problem, x = gaussian(4, 3, 1, scores=0.3)
    last = list(islice(newton(problem, x, ridge=1e-3), 30))[-1]
    assert last.gradient_norm < 1e-10
    assert (last.x - x).norm() > 1e-4


def test_the_sufficient_ridge_is_the_least_that_makes_the_hessian_definite():
    problem, _ = gaussian(4, 3, 2)
    start = elsewhere(4, 3, 2, 1)[0]
    step = next(newton(problem, start, ridge=0.0))
    assert step.least_eigenvalue < 0
    assert not step.definite
    assert step.epsilon == float("inf")
    assert next(newton(problem, start, ridge=1.001 * step.sufficient_ridge)).definite
    assert not next(newton(problem, start, ridge=0.999 * step.sufficient_ridge)).definite


def test_the_reported_eigenvalue_holds_for_every_direction():
    problem, _ = gaussian(4, 3, 3, scores=0.3)
    x, t = elsewhere(4, 3, 3, 1), elsewhere(4, 3, 4, 1)
    step = next(newton(problem, x[0], ridge=0.1))
    form = float(problem.quadratic(problem.at(x), t)) + 0.2 * float(t.square().sum())
    assert form >= step.least_eigenvalue * float(t.square().sum()) - 1e-9


@pytest.mark.parametrize(
    ("start", "ridge", "argument"), [((4, 3), -1.0, "ridge"), ((4,), 0.0, "start"), ((4, 300), 0.0, "start")]
)
def test_what_does_not_fit_is_named(start, ridge, argument):
    problem, _ = gaussian(4, 3, 0)
    with pytest.raises(BadInput) as error:
        next(newton(problem, torch.zeros(start, dtype=torch.float64), ridge=ridge))
    assert error.value.argument == argument
