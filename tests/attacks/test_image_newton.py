"""Images from activations: what must come back does, and what cannot is said."""

import math

import pytest
import torch

from tests import vit
from unmask.attacks.images.match import ImageMatch
from unmask.attacks.images.newton import ImageNewton
from unmask.attacks.images.solver import Tangent, jacobian
from unmask.attacks.images.target import Target
from unmask.attacks.images.waves import Waves
from unmask.auditor.attempt import attempt
from unmask.rng import generator
from unmask.surface import Release
from unmask.surfaces.image_activation import ImageActivationSurface

MODELS = [vit.plain, vit.library]


def observed(model, select: str, index: int = 0, **settings):
    """Return an observation of one image."""
    surface = ImageActivationSurface(select=select, **settings)
    return surface.observe(vit.subject(model).victim(vit.secret(model, index)), generator(0))


def psnr(model, guess, index: int = 0) -> float:
    """Return how close a guess is."""
    judged = vit.subject(model).judge(vit.secret(model, index), guess, others=(), show=False)
    return judged.measures["psnr_db"]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("select", ["0.hidden", "0.value", "0.key+0.value"])
def test_the_image_comes_back_and_its_replay_proves_it(make, select: str) -> None:
    model = make()
    ended = attempt(ImageNewton(), observed(model, select), generator(1), seconds=60.0)
    assert ended.best is not None
    assert psnr(model, ended.best) > 50
    assert ended.best.residual < 1e-5


def test_the_output_of_the_attention_block_is_enough() -> None:
    model = vit.library()
    ended = attempt(ImageNewton(), observed(model, "0.block"), generator(1), seconds=60.0)
    assert psnr(model, ended.best) > 50
    assert ended.best.residual < 1e-5


def test_another_image_is_not_found() -> None:
    model = vit.plain()
    ended = attempt(ImageNewton(), observed(model, "0.value"), generator(1), seconds=60.0)
    assert psnr(model, ended.best, 1) < 30


def test_noise_costs_decibels_and_never_more_than_a_guess_of_grey() -> None:
    model = vit.plain()
    found = []
    for noise in (1e-4, 1e-2):
        seen = observed(model, "0.value", release=Release(noise=noise))
        found.append(psnr(model, attempt(ImageNewton(settled=10), seen, generator(1), seconds=60.0).best))
    assert found[0] > found[1] > 10


def test_missing_rows_are_left_out_of_the_replay() -> None:
    seen = observed(vit.plain(), "0.hidden", missing=0.2)
    target = Target(observation=seen)
    assert target.size == 4 * 32
    assert float(target.residuals(vit.secret(vit.plain()).pixels).norm()) < 1e-6


def test_unknown_order_is_said() -> None:
    guess = next(ImageNewton().run(observed(vit.plain(), "0.block", permuted=True), generator(1)))
    assert guess.done
    assert math.isinf(guess.loss)
    assert "order" in guess.note


def test_descent_comes_nearer_than_grey() -> None:
    model = vit.plain()
    grey = psnr(model, None)
    ended = attempt(ImageMatch(steps=150), observed(model, "0.value"), generator(1), seconds=60.0)
    assert psnr(model, ended.best) > grey + 5


def test_products_with_the_jacobian_agree_with_finite_differences() -> None:
    model = vit.plain()
    target, waves = Target(observation=observed(model, "1.block")), Waves(shape=model.shape)

    def residuals(w: torch.Tensor) -> torch.Tensor:
        return target.residuals(waves.image(w))

    w = 0.3 * torch.randn(1, *model.shape, generator=generator(2), dtype=torch.float64)
    v = torch.randn(w.shape, generator=generator(3), dtype=torch.float64)
    tangent = Tangent.at(residuals, w)
    slope = (residuals(w + 1e-5 * v) - residuals(w - 1e-5 * v)) / 2e-5
    product = tangent.forward(v)
    assert torch.allclose(product, slope, rtol=1e-5, atol=1e-8)
    y = torch.randn(product.shape, generator=generator(4), dtype=torch.float64)
    assert float((tangent.backward(y) * v).sum()) == pytest.approx(float((y * product).sum()), rel=1e-9)
    whole = jacobian(residuals, w).double() @ v.flatten()
    assert torch.allclose(whole, product[0], rtol=1e-3, atol=1e-5)


def test_waves_are_inverted() -> None:
    waves = Waves(shape=(3, 6, 9))
    image = torch.rand(2, 3, 6, 9, generator=generator(5), dtype=torch.float64)
    assert torch.allclose(waves.image(waves.coordinates(image)), image, atol=1e-12)
    drawn = waves.image(torch.randn(200, 3, 6, 9, generator=generator(6), dtype=torch.float64))
    assert float((drawn - 0.5).std()) == pytest.approx(0.3, rel=0.1)
