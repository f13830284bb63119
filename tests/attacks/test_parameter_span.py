from dataclasses import replace

import pytest
import torch

from unmask.attacks.weights import parameter_span
from unmask.attacks.weights.last_column import last_column
from unmask.attacks.weights.parameter_span import ParameterSpan
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


def test_a_guess_opens_the_neurons_that_its_gates_say_and_replays_the_change() -> None:
    observation, _ = observed((256, 512), "float32")
    *_, guess = ParameterSpan().run(observation, generator(0, "attack"))
    assert guess.note.endswith("10 of 10 guesses open exactly the neurons that their columns say")
    assert guess.loss == guess.residual
    assert guess.loss < 1e-5


@pytest.mark.parametrize(("polish", "mended"), [(0, False), (5, True)])
def test_a_turned_gate_spoils_no_image_and_is_set_right_by_the_images_of_the_other_neurons(
    polish: int, mended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    observation, images = observed((512,), "float64")
    exact = parameter_span._gates

    def turned(signs: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
        gates = exact(signs, basis)
        gates[0, 0] = 1 - gates[0, 0]
        return gates

    monkeypatch.setattr(parameter_span, "_gates", turned)
    *_, guess = ParameterSpan(polish=polish).run(observation, generator(0, "attack"))
    assert guess.images is not None
    worst = float(torch.cdist(images.flatten(1), guess.images.flatten(1)).amin(1).max())
    assert worst < 1e-11
    assert guess.loss < 1e-11
    assert f"{10 if mended else 9} of 10 guesses open exactly the neurons" in guess.note


@pytest.mark.parametrize("bias", [True, False])
def test_the_last_missing_column_comes_from_what_the_others_leave(bias: bool) -> None:
    observation, images = observed((512,), "float32", bias)
    attack, noise = ParameterSpan(), generator(0, "attack")
    factored, kept, basis = attack._factored(observation, noise)
    assert observation.start is not None
    z = observation.model.inputs(images) @ observation.start["layer.0.weight"].double()[kept].T
    gates = (z > 0).double().T
    for missing in range(10):
        known = torch.cat([gates[:, :missing], gates[:, missing + 1 :]], 1)
        column = last_column(observation, factored, kept, known, basis)
        assert column is not None and torch.equal(column, gates[:, missing])
    # Two columns are missing: what is left is no image's.
    assert last_column(observation, factored, kept, torch.cat([gates[:, :8], gates[:, :1]], 1), basis) is None


def test_a_shuffled_weight_change_gives_no_image() -> None:
    observation, _ = observed((512,), "float32")
    noise, final = generator(0, "shuffle"), {}
    for name, start in (observation.start or {}).items():
        change = (observation.final[name] - start).flatten()
        final[name] = start + change[torch.randperm(len(change), generator=noise)].reshape(start.shape)
    null = WeightsObservation(
        start=observation.start, final=final, model=observation.model, knowledge=observation.knowledge
    )
    guesses = list(ParameterSpan().run(null, generator(0, "attack")))
    assert guesses[-1].done
    assert all(guess.images is None and guess.loss == float("inf") for guess in guesses)
    assert "full rank" in guesses[-1].note


def test_the_changes_of_other_neurons_give_no_image() -> None:
    # The same rank as the true change, so that the search runs; no image explains it.
    observation, _ = observed((512,), "float32")
    order, final = torch.randperm(512, generator=generator(0, "shuffle")), {}
    for name, start in (observation.start or {}).items():
        change = observation.final[name] - start
        final[name] = start + (change[order] if name.startswith("layer.0.") else change)
    null = WeightsObservation(
        start=observation.start, final=final, model=observation.model, knowledge=observation.knowledge
    )
    (guess,) = ParameterSpan().run(null, generator(0, "attack"))
    assert guess.done and guess.images is None and guess.loss == float("inf")
    assert guess.note.startswith("no gate column found in a space of 10 dimensions")


def test_a_change_below_its_noise_is_named() -> None:
    observation, _ = observed((512,), "float32")
    noise, final = generator(0, "noise"), {}
    for name, tensor in observation.final.items():
        final[name] = tensor + 0.1 * torch.randn(tensor.shape, generator=noise)
    knowledge = replace(observation.knowledge, noise=0.1)
    loud = WeightsObservation(start=observation.start, final=final, model=observation.model, knowledge=knowledge)
    (guess,) = ParameterSpan().run(loud, generator(0, "attack"))
    assert guess.done and guess.images is None
    assert guess.note == "nothing of the weight change stands above its noise"


def test_without_the_start_the_attack_says_that_it_has_no_means() -> None:
    observation, _ = observed((512,), "float32")
    knowledge = replace(observation.knowledge, start=False)
    blind = WeightsObservation(start=None, final=observation.final, model=observation.model, knowledge=knowledge)
    (guess,) = ParameterSpan().run(blind, generator(0, "attack"))
    assert guess.done and guess.images is None and guess.note == "needs the weights before training"
