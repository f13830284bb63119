import pytest
import torch

from tests.references.parameters import tangent_descent
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.victims.mlp import Descent, initial, targets, train, train_tangent
from unmask.weights import Parametrisation, PublicMLP


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("parametrisation", list(Parametrisation))
def test_the_closed_form_is_where_descent_on_the_tangent_ends(outputs: int, parametrisation: Parametrisation) -> None:
    noise = generator(0, "mlp")
    model = PublicMLP(shape=(1, 2, 2), hidden=(12, 10), outputs=outputs, parametrisation=parametrisation)
    start = initial(model, noise)
    inputs = torch.randn(3, 4, generator=noise, dtype=torch.float64)
    wanted = targets(torch.arange(3) % max(outputs, 2), max(outputs, 2))
    closed = train_tangent(model, start, inputs, wanted)
    slow = tangent_descent(model, start, inputs, wanted, rate=0.02, steps=20_000)
    assert closed.loss < 1e-20
    for name in start:
        assert torch.allclose(closed.weights[name], slow[name], atol=1e-9, rtol=0)


def test_equal_images_have_a_singular_kernel() -> None:
    noise = generator(0, "mlp")
    model = PublicMLP(shape=(1, 2, 2), hidden=(12,))
    twice = torch.randn(1, 4, generator=noise, dtype=torch.float64).expand(2, -1)
    with pytest.raises(BadInput, match="singular kernel"):
        train_tangent(model, initial(model, noise), twice, targets(torch.tensor([0, 1]), 2))


def test_ordinary_training_lowers_the_loss_and_leaves_the_start_alone() -> None:
    noise = generator(0, "mlp")
    model = PublicMLP(shape=(1, 2, 2), hidden=(30,))
    start = initial(model, noise)
    before = {name: tensor.clone() for name, tensor in start.items()}
    inputs = torch.randn(4, 4, generator=noise, dtype=torch.float64)
    ended = train(model, start, inputs, targets(torch.arange(4) % 2, 2), Descent(learning_rate=0.05, loss=1e-6))
    assert ended.loss < 1e-6
    assert 0 < ended.steps < 100_000
    assert all(torch.equal(start[name], before[name]) for name in start)
    with pytest.raises(BadInput, match="diverge"):
        train(model, start, inputs, targets(torch.arange(4) % 2, 2), Descent(learning_rate=1e3))


def test_labels_become_signs_or_centred_classes() -> None:
    assert targets(torch.tensor([0, 1]), 2).tolist() == [[-1.0], [1.0]]
    assert targets(torch.tensor([1]), 4).tolist() == [[-0.25, 0.75, -0.25, -0.25]]
    with pytest.raises(BadInput, match=r"leave 0\.\.2"):
        targets(torch.tensor([3]), 3)
