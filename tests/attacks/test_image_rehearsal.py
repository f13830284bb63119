"""A picture read linearly off activations: the closed form is the regression it says it is, and it is a start."""

from dataclasses import replace

import pytest
import torch

from tests import vit
from unmask.attacks.images.newton import ImageNewton
from unmask.attacks.images.rehearsal import RIDGES, linear_reading
from unmask.attacks.images.target import Target
from unmask.auditor.attempt import attempt
from unmask.auditor.images import smooth
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surface import Release
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.vision import Images


def informed(count: int):
    """Return the tiny model with public pictures at hand, none of them the secret."""
    model = vit.plain()
    return replace(model, examples=Images(pixels=smooth(count, model.shape, generator(5))))


def observed(model, select: str, index: int = 0, **settings):
    """Return an observation of one image."""
    surface = ImageActivationSurface(select=select, **settings)
    return surface.observe(vit.subject(vit.plain()).victim(vit.secret(model, index)), generator(0))


def slowly(target: Target, pixels: torch.Tensor) -> torch.Tensor:
    """Return the reading by the plain normal equations in float64, one left out at a time."""
    with torch.no_grad():
        away = target.residuals(pixels).double()
    flat = pixels.flatten(1).double()
    features, wanted = away - away.mean(0), flat - flat.mean(0)
    scale = float(features.square().sum(1).mean())

    def map_of(rows: torch.Tensor, ridge: float) -> torch.Tensor:
        a = features[rows]
        system = a.T @ a + (ridge * scale + target.noise**2) * torch.eye(a.shape[1], dtype=torch.float64)
        return torch.linalg.solve(system, a.T @ wanted[rows])

    everyone = torch.arange(len(pixels))
    errors = []
    for ridge in RIDGES:
        left = [features[i] @ map_of(everyone[everyone != i], ridge) - wanted[i] for i in range(len(pixels))]
        errors.append(float(torch.stack(left).square().sum()))
    best = map_of(everyone, RIDGES[errors.index(min(errors))])
    return (flat.mean(0) - away.mean(0) @ best).clamp(0, 1).view(1, *pixels.shape[1:])


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
def test_the_dual_with_its_left_out_errors_equals_the_normal_equations(noise: float) -> None:
    model = informed(24)
    target = Target(observation=observed(model, "1.block", release=Release(noise=noise)))
    assert model.examples is not None
    fast, slow = linear_reading(target, model.examples), slowly(target, model.examples.pixels)
    assert torch.allclose(fast.double(), slow, atol=2e-3)


def test_the_reading_is_nearer_than_the_mean_picture_and_of_this_image_only() -> None:
    model = informed(300)
    assert model.examples is not None
    mean = model.examples.pixels.mean(0, keepdim=True)
    own, others, plain = 0.0, 0.0, 0.0
    for index in range(4):
        found = linear_reading(Target(observation=observed(model, "0.value", index)), model.examples)
        own += float((found - vit.secret(model, index).pixels).square().mean())
        others += float((found - vit.secret(model, index + 1).pixels).square().mean())
        plain += float((mean - vit.secret(model, index).pixels).square().mean())
    assert own < plain / 2
    assert own < others / 2


def test_the_attack_begins_there_and_ends_exact() -> None:
    model = informed(300)
    seen = replace(observed(model, "0.value"), model=model)
    guesses = list(ImageNewton().run(seen, generator(1)))
    assert torch.equal(guesses[0].images, linear_reading(Target(observation=seen), model.examples))
    best = attempt(ImageNewton(), seen, generator(1), seconds=60.0).best
    assert best is not None
    assert vit.subject(model).judge(vit.secret(model), best, others=(), show=False).measures["psnr_db"] > 50


def test_pictures_at_hand_are_part_of_the_threat_model() -> None:
    model = informed(7)
    seen = ImageActivationSurface(select="0.value").observe(vit.subject(model).victim(vit.secret(model)), generator(0))
    assert any("7 public pictures" in sentence for sentence in seen.knowledge.sentences())
    assert not any("public pictures" in s for s in observed(vit.plain(), "0.value").knowledge.sentences())


def test_pictures_of_another_shape_are_refused() -> None:
    with pytest.raises(BadInput, match="examples"):
        replace(vit.plain(), examples=Images(pixels=torch.zeros(3, 1, 9, 9)))
