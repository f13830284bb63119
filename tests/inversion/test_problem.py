import pytest
import torch

from tests.inversion.problems import elsewhere, gaussian
from tests.references import attention_problem as slow
from unmask.errors import BadInput
from unmask.inversion.problem import AttentionProblem

SHAPES = [(3, 4, 5), (5, 2, 2), (4, 4, 4)]


def close(a, b, relative=1e-9):
    return float((a - b).norm()) <= relative * float(b.norm())


@pytest.mark.parametrize(("d", "n", "d_v"), SHAPES)
def test_batch_agrees_with_a_loop_over_every_number(d, n, d_v):
    problem, _ = gaussian(d, n, 0, d_v=d_v, scores=0.3)
    x = elsewhere(d, n, 0)
    at = problem.at(x)
    w, v, b = problem.W.numpy(), problem.V.numpy(), problem.B.numpy()
    for r in range(len(x)):
        guess = x[r].numpy()
        assert float(problem.loss(x)[r]) == pytest.approx(slow.loss(guess, w, v, b), rel=1e-12)
        assert close(problem.gradient(at)[r], torch.from_numpy(slow.gradient(guess, w, v, b)))


@pytest.mark.parametrize(("d", "n", "d_v"), SHAPES)
def test_derivatives_agree_with_autodiff(d, n, d_v):
    problem, _ = gaussian(d, n, 1, d_v=d_v, scores=0.3)
    x, t = elsewhere(d, n, 1), elsewhere(d, n, 2)
    at = problem.at(x)
    g = torch.randn(3, n, d_v, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    guess = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(problem.loss(guess).sum(), guess)
    assert close(problem.gradient(at), slope)
    along = torch.func.jvp(problem.output, (x,), (t,))[1]
    assert close(problem.jvp(at, t), along)
    back = torch.func.vjp(problem.output, x)[1](g)[0]
    assert close(problem.vjp(at, g), back)
    twice = torch.func.jvp(lambda y: torch.func.jvp(problem.output, (y,), (t,))[1], (x,), (t,))[1]
    assert close(problem.bend(at, t), twice)
    normal = torch.func.vjp(problem.output, x)[1](along)[0]
    assert close(problem.gauss_newton(at, t), normal)
    for r in range(3):
        hessian = torch.func.hessian(lambda y: problem.loss(y[None])[0])(x[r])
        form = torch.einsum("ak,akbm,bm->", t[r], hessian, t[r])
        assert float(problem.quadratic(at, t)[r]) == pytest.approx(float(form), rel=1e-9)


def test_derivatives_agree_with_finite_differences():
    problem, _ = gaussian(4, 3, 2, scores=0.3)
    x, t, h = elsewhere(4, 3, 2), elsewhere(4, 3, 3), 1e-5
    at = problem.at(x)
    ahead, behind = problem.output(x + h * t), problem.output(x - h * t)
    assert close(problem.jvp(at, t), (ahead - behind) / (2 * h), 1e-7)
    assert close(problem.bend(at, t), (ahead - 2 * problem.output(x) + behind) / h**2, 1e-4)


def test_the_loss_is_zero_at_the_truth_and_the_input_type_is_kept():
    problem, x = gaussian(4, 3, 3)
    assert float(problem.loss(x[None])) < 1e-28
    single = AttentionProblem(W=problem.W.float(), V=problem.V.float(), B=problem.B.float())
    assert single.loss(x[None].float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"W": torch.eye(3)[:2]}, "W"),
        ({"W": None}, "W"),
        ({"V": None}, "V"),
        ({"V": torch.eye(2)}, "V"),
        ({"B": torch.zeros(2, 4)}, "B"),
        ({"B": torch.zeros(0, 3)}, "B"),
        ({"B": torch.full((2, 3), torch.nan)}, "B"),
        ({"V": torch.eye(3, dtype=torch.long)}, "V"),
        ({"W": torch.zeros(3)}, "W"),
    ],
)
def test_what_does_not_fit_is_named(change, argument):
    with pytest.raises(BadInput) as error:
        AttentionProblem(**({"W": torch.eye(3), "V": torch.eye(3), "B": torch.zeros(2, 3)} | change))
    assert error.value.argument == argument


def test_a_guess_of_another_shape_is_named():
    problem, x = gaussian(4, 3, 0)
    with pytest.raises(BadInput, match="batch first"):
        problem.loss(x)
