import pytest
import torch

from unmask.attacks.weights.kernel_inputs import KernelInputs
from unmask.distill.kernel_machine import FunctionObservation, KernelMachine, fit
from unmask.distill.ntk import AnalyticNTK
from unmask.rng import generator


def observed(kernel: AnalyticNTK, count: int = 12) -> tuple[FunctionObservation, torch.Tensor]:
    noise = generator(0, "infinite")
    images = torch.rand(count, 1, 10, 10, generator=noise, dtype=torch.float64)
    machine = fit(kernel, images.flatten(1), torch.where(torch.arange(count) % 2 > 0, 1.0, -1.0).double()[:, None])
    return FunctionObservation(change=machine, kernel=kernel, shape=(1, 10, 10)), images


@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_every_image_is_read_from_an_infinitely_wide_network(hidden: int) -> None:
    observation, images = observed(AnalyticNTK(hidden=hidden))
    (guess,) = KernelInputs().run(observation, generator(0, "attack"))
    assert guess.images is not None and guess.images.shape == images.shape
    assert float(torch.cdist(images.flatten(1), guess.images.flatten(1)).amin(1).max()) < 1e-5
    assert guess.loss < 1e-5
    assert guess.note.startswith("12 images")


def test_without_biases_images_are_known_up_to_a_factor() -> None:
    observation, images = observed(AnalyticNTK(hidden=2, bias=False))
    (guess,) = KernelInputs().run(observation, generator(0, "attack"))
    assert guess.images is not None
    cosines = torch.cosine_similarity(images.flatten(1)[:, None], guess.images.flatten(1)[None], dim=-1)
    assert float(cosines.amax(1).min()) > 1 - 1e-9


def test_a_function_of_another_kernel_gives_no_image_and_a_large_loss() -> None:
    # Something to diagonalise, but not the curvature that images make: the replay tells.
    observation, images = observed(AnalyticNTK(hidden=1))
    noise = generator(0, "null")
    axes = torch.randn(12, 100, generator=noise, dtype=torch.float64)
    null = FunctionObservation(
        change=lambda z: torch.sin(z @ axes.T / 10).sum(1, keepdim=True), kernel=observation.kernel, shape=(1, 10, 10)
    )
    (guess,) = KernelInputs().run(null, generator(0, "attack"))
    assert guess.loss > 0.1
    assert guess.images is not None
    assert float(torch.cdist(images.flatten(1), guess.images.flatten(1)).min()) > 1.0


def test_too_many_images_and_no_change_are_named() -> None:
    observation, _ = observed(AnalyticNTK(), count=60)
    (guess,) = KernelInputs().run(observation, generator(0, "attack"))
    assert guess.images is None and guess.note == "as many images as a third of the pixels"
    still = KernelMachine(kernel=AnalyticNTK(), points=torch.ones(1, 100).double(), duals=torch.zeros(1, 1).double())
    quiet = FunctionObservation(change=still, kernel=AnalyticNTK(), shape=(1, 10, 10))
    (guess,) = KernelInputs().run(quiet, generator(0, "attack"))
    assert guess.images is None and guess.note == "the function did not change"
