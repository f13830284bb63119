import pytest
import torch

from tests.references.parameters import inner, jacobian
from unmask.distill.signals import gradient_kernel, signals
from unmask.rng import generator
from unmask.victims.mlp import initial
from unmask.weights import Activation, Parametrisation, PublicMLP


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("parametrisation", list(Parametrisation))
@pytest.mark.parametrize("bias", [True, False])
def test_sums_products_and_kernels_agree_with_one_gradient_per_image_and_output(
    activation: Activation, parametrisation: Parametrisation, bias: bool
) -> None:
    noise = generator(0, "signals")
    model = PublicMLP(
        shape=(1, 2, 3), hidden=(5, 4), outputs=2, activation=activation, parametrisation=parametrisation, bias=bias
    )
    parameters = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=noise, dtype=torch.float64)
        for name, tensor in initial(model, noise).items()
    }
    inputs = torch.randn(3, 6, generator=noise, dtype=torch.float64)
    duals = torch.randn(3, 2, generator=noise, dtype=torch.float64)
    seen, slow = signals(model, parameters, inputs), jacobian(model, parameters, inputs)
    assert torch.allclose(seen.outputs, model(parameters, inputs), atol=1e-13, rtol=0)
    combined = seen.combine(duals)
    for name in parameters:
        wanted = sum(duals[i, c] * slow[i][c][name] for i in range(3) for c in range(2))
        assert torch.allclose(combined[name], wanted, atol=1e-12, rtol=0)
    projected = torch.tensor([[inner(parameters, row) for row in image] for image in slow], dtype=torch.float64)
    assert torch.allclose(seen.project(parameters), projected, atol=1e-12, rtol=0)
    kernel = torch.tensor(
        [[[[inner(a, b) for b in right] for right in slow] for a in left] for left in slow], dtype=torch.float64
    )
    assert torch.allclose(gradient_kernel(seen, seen), kernel, atol=1e-12, rtol=0)
