import pytest
import torch

from unmask.attacks.parameter_span import ParameterSpan
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surfaces.parameters import ParameterSurface
from unmask.victims.mlp import initial, targets, train_tangent
from unmask.weights import PublicMLP, WeightsObservation


def observed(hidden: tuple[int, ...], dtype: str, bias: bool = True) -> tuple[WeightsObservation, torch.Tensor]:
    noise = generator(0, "parameters")
    model = PublicMLP(shape=(1, 1, 50), hidden=hidden, bias=bias)
    images = torch.rand(10, 1, 1, 50, generator=noise, dtype=torch.float64)
    start = initial(model, noise)
    final = train_tangent(model, start, model.inputs(images), targets(torch.arange(10) % 2, 2)).weights
    return ParameterSurface(dtype=dtype).observe(model, start, final, noise, linearised=True), images


@pytest.mark.parametrize("hidden", [(512,), (256, 512)])
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-11), ("float32", 1e-3)])
def test_every_image_is_read_from_a_linearised_training(hidden: tuple[int, ...], dtype: str, error: float) -> None:
    observation, images = observed(hidden, dtype)
    *_, guess = ParameterSpan().run(observation, generator(0, "attack"))
    assert guess.done and guess.images is not None and guess.images.shape == images.shape
    assert float(torch.cdist(images.flatten(1), guess.images.flatten(1)).amin(1).max()) < error


def test_without_biases_images_are_known_up_to_a_factor() -> None:
    observation, images = observed((512,), "float64", bias=False)
    *_, guess = ParameterSpan().run(observation, generator(0, "attack"))
    assert guess.images is not None
    cosines = torch.cosine_similarity(images.flatten(1)[:, None], guess.images.flatten(1)[None], dim=-1)
    assert float(cosines.amax(1).min()) > 1 - 1e-9


def test_weights_that_did_not_change_are_refused() -> None:
    observation, _ = observed((512,), "float64")
    with pytest.raises(BadInput, match="equal the weights before training"):
        WeightsObservation(
            start=observation.start, final=observation.start, model=observation.model, knowledge=observation.knowledge
        )
