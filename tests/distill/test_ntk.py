import pytest
import torch

from tests.references import ntk as slow
from unmask.distill.kernel_machine import fit, gram
from unmask.distill.ntk import AnalyticNTK
from unmask.errors import BadInput
from unmask.rng import generator


@pytest.mark.parametrize("hidden", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_the_closed_form_is_the_expectation_over_neurons(hidden: int, bias: bool) -> None:
    noise = generator(0, "ntk")
    x, z = torch.randn(2, 3, 6, generator=noise, dtype=torch.float64)
    found = AnalyticNTK(hidden=hidden, bias=bias)(x, z)
    for i in range(3):
        for j in range(3):
            # The gates' sum has jumps, so that 20,000 angles are not exact.
            assert float(found[i, j]) == pytest.approx(slow.ntk(x[i], z[j], hidden, bias), abs=2e-4)


@pytest.mark.parametrize("hidden", [1, 2])
def test_a_wide_network_has_nearly_the_kernel(hidden: int) -> None:
    noise = generator(0, "wide")
    inputs = torch.randn(4, 8, generator=noise, dtype=torch.float64)
    want = gram(AnalyticNTK(hidden=hidden), inputs)
    have = torch.stack([slow.wide(inputs, hidden, True, 1024, noise) for _ in range(4)]).mean(0)
    assert float((have - want).norm() / want.norm()) < 0.04


def test_a_narrow_network_differs_more() -> None:
    noise = generator(0, "narrow")
    inputs = torch.randn(4, 8, generator=noise, dtype=torch.float64)
    want = gram(AnalyticNTK(hidden=1), inputs)
    errors = [float((slow.wide(inputs, 1, True, width, noise) - want).norm()) for width in (8, 2048)]
    assert errors[0] > 3 * errors[1]


def test_the_diagonal_agrees_with_the_kernel_of_an_image_with_itself() -> None:
    inputs = torch.randn(5, 7, generator=generator(0, "self"), dtype=torch.float64)
    kernel = AnalyticNTK(hidden=3)
    assert torch.allclose(kernel(inputs, inputs).diagonal(), kernel.of_self(inputs), atol=1e-6)


def test_a_fit_interpolates_and_a_repeated_image_is_refused() -> None:
    noise = generator(0, "fit")
    inputs = torch.randn(6, 9, generator=noise, dtype=torch.float64)
    wanted = torch.randn(6, 2, generator=noise, dtype=torch.float64)
    assert torch.allclose(fit(AnalyticNTK(hidden=2), inputs, wanted)(inputs), wanted, atol=1e-5)
    with pytest.raises(BadInput, match="singular kernel"):
        fit(AnalyticNTK(), torch.cat([inputs[:1], inputs[:1]]), wanted[:2])


def test_no_hidden_layer_is_refused() -> None:
    with pytest.raises(BadInput, match="leaves no hidden layer"):
        AnalyticNTK(hidden=0)
