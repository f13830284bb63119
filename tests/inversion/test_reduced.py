import pytest
import torch

from tests.inversion.problems import gaussian
from unmask.inversion.levenberg import begin, descend
from unmask.inversion.problem import AttentionProblem
from unmask.inversion.reduced import reduce
from unmask.inversion.search import levels


@pytest.mark.parametrize(("d", "n", "d_v"), [(6, 3, 6), (4, 4, 7)])
def test_the_truth_solves_it_and_what_solves_it_solves_the_full_problem(d, n, d_v):
    problem, x = gaussian(d, n, 0, d_v=d_v, scores=0.2)
    small, reason = reduce(problem)
    assert reason == ""
    inside = (small.basis @ x).mT
    assert (small.tokens(inside[None])[0] - x).norm() < 1e-9 * x.norm()
    assert small.residual(inside[None]).norm() < 1e-9
    near = inside + 0.05 * torch.randn(n, n, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    found = descend(small, begin(small, near[None]), 30)
    assert float(found.loss) < 1e-20
    assert float(problem.loss(small.tokens(found.guess))) < 1e-20


def test_jacobian_and_bend_agree_with_autodiff():
    problem, _ = gaussian(6, 3, 1, scores=0.2)
    small = reduce(problem)[0].coarse(0.3)
    g = torch.Generator().manual_seed(0)
    c, t = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=g)
    for r in range(2):
        slope = torch.func.jacrev(lambda y: small.residual(y[None])[0])(c[r]).reshape(9, 9)
        assert (small.jacobian(c)[r] - slope).norm() < 1e-10 * slope.norm()
    twice = torch.func.jvp(lambda y: torch.func.jvp(small.residual, (y,), (t,))[1], (c,), (t,))[1]
    assert (small.bend(c, t) - twice).norm() < 1e-10 * twice.norm()


def test_surprise_is_the_full_posterior_up_to_one_constant():
    problem, x = gaussian(5, 3, 2, scores=0.2)
    small, _ = reduce(problem)
    g = torch.Generator().manual_seed(0)
    inside = (small.basis @ x).mT + 0.1 * torch.randn(3, 3, 3, dtype=x.dtype, generator=g)
    whole = []
    for guess in small.tokens(inside):
        slope = torch.func.jacrev(lambda y: problem.output(y[None])[0])(guess).reshape(15, 15)
        whole.append(guess.square().sum() / (2 * 0.7**2) + torch.linalg.slogdet(slope).logabsdet)
    apart = small.surprise(inside, 0.7) - torch.stack(whole)
    assert apart.max() - apart.min() < 1e-8


def test_levels_fall_to_the_whole_problem():
    small, _ = reduce(gaussian(8, 4, 0)[0])
    found = levels(small)
    assert found == sorted(found, reverse=True)
    assert found[0] <= float(small.sizes[1])
    assert found[-1] == 0.0


@pytest.mark.parametrize(
    ("d", "n", "d_v", "word"), [(3, 4, 3, "dimensions"), (4, 1, 4, "at least 2"), (4, 3, 3, "rank")]
)
def test_where_it_does_not_exist_the_reason_is_given(d, n, d_v, word):
    small, reason = reduce(gaussian(d, n, 0, d_v=d_v)[0])
    assert small is None
    assert word in reason


def test_lost_tokens_are_noticed():
    problem, _ = gaussian(4, 3, 0)
    equal = AttentionProblem(W=problem.W, V=problem.V, B=problem.B[:1].expand(3, 4).contiguous())
    small, reason = reduce(equal)
    assert small is None
    assert "lost" in reason
