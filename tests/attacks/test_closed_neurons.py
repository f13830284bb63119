import pytest
import torch

from tests.references.closed import trained
from unmask.attacks.weights.closed_columns import ClosedSearch
from unmask.attacks.weights.closed_neurons import ClosedNeurons
from unmask.attacks.weights.first_layer_change import FirstLayer
from unmask.rng import generator
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims.mlp import initial
from unmask.vision import Images
from unmask.weights import Activation, PublicMLP, WeightsKnowledge, WeightsObservation, WeightsVictim


def victim(hidden: tuple[int, ...], outputs: int = 1, count: int = 6) -> tuple[WeightsVictim, torch.Tensor]:
    noise = generator(0, "closed")
    model = PublicMLP(shape=(1, 5, 6), hidden=hidden, outputs=outputs)
    images = torch.rand(count, 1, 5, 6, generator=noise, dtype=torch.float64)
    start = initial(model, noise)
    wanted = torch.randn(count, outputs, generator=noise, dtype=torch.float64)
    final, opened = trained(model, start, model.inputs(images), wanted, 0.02, 200)
    return WeightsVictim(model=model, start=start, final=final, secret=Images(pixels=images)), opened


def observed(who: WeightsVictim, shuffled: bool = False) -> WeightsObservation:
    return PublishedWeights(shuffled=shuffled).observe(who, generator(0, "noise"))


def worst(who: WeightsVictim, found: torch.Tensor | None) -> float:
    assert found is not None and who.secret is not None
    return float(torch.cdist(who.secret.pixels.flatten(1), found.flatten(1)).amin(1).max())


@pytest.mark.parametrize(("hidden", "outputs"), [((384,), 1), ((384,), 3), ((384, 64), 1)])
def test_every_image_is_read_from_an_ordinary_training(hidden: tuple[int, ...], outputs: int) -> None:
    who, _ = victim(hidden, outputs)
    *_, guess = ClosedNeurons().run(observed(who), generator(0, "attack"))
    assert guess.done and guess.note.startswith("6 of 6 columns")
    assert worst(who, guess.images) < 0.01


def test_a_neuron_that_an_image_never_opened_holds_nothing_of_it() -> None:
    who, opened = victim((384, 64))
    assert who.secret is not None
    change = [who.final[name] - who.start[name] for name in ("layer.0.weight", "layer.0.bias")]
    images = torch.cat([who.secret.pixels.flatten(1), torch.ones(6, 1, dtype=torch.float64)], 1)
    factor = torch.linalg.lstsq(images.T, torch.cat([change[0], change[1][:, None]], 1).T).solution.T
    assert 0.2 < float(opened.double().mean()) < 0.8
    assert float(factor[~opened].abs().max()) < 1e-10
    assert float(factor[opened].abs().median()) > 1e-5


def test_the_change_dealt_to_other_neurons_gives_no_image() -> None:
    who, _ = victim((384,))
    loss = [
        list(ClosedNeurons(rounds=6).run(observed(who, flag), generator(0, "attack")))[-1].loss
        for flag in (False, True)
    ]
    assert loss[0] < 0.3
    assert loss[1] > 2 * loss[0]
    *_, guess = ClosedNeurons(rounds=6).run(observed(who, True), generator(0, "attack"))
    assert guess.images is None or worst(who, guess.images) > 0.5


def test_what_the_attack_cannot_read_is_named() -> None:
    who, _ = victim((384,))
    seen = observed(who)
    blind = WeightsObservation(start=None, final=seen.final, model=seen.model, knowledge=WeightsKnowledge(start=False))
    smooth = PublicMLP(shape=(1, 5, 6), hidden=(384,), activation=Activation.TANH)
    other = WeightsObservation(start=seen.start, final=seen.final, model=smooth, knowledge=seen.knowledge)
    for observation, note in ((blind, "needs the weights before"), (other, "neurons are closed for ReLU only")):
        (guess,) = ClosedNeurons().run(observation, generator(0, "attack"))
        assert guess.done and guess.images is None and guess.note.startswith(note)


def test_a_change_without_a_gap_is_named() -> None:
    who, _ = victim((384,))
    noise = generator(0, "loud")
    final = {name: tensor + torch.randn(tensor.shape, generator=noise) for name, tensor in who.final.items()}
    loud = WeightsVictim(model=who.model, start=who.start, final=final, secret=who.secret)
    (guess,) = ClosedNeurons().run(observed(loud), generator(0, "attack"))
    assert guess.images is None and "full rank" in guess.note


def test_one_guess_finds_the_last_columns_in_the_row_space_that_the_others_leave() -> None:
    who, _ = victim((384, 64))
    assert who.secret is not None
    layer = FirstLayer(observed(who))
    images = torch.cat([who.secret.pixels.flatten(1), torch.ones(6, 1, dtype=torch.float64)], 1)
    true = layer.columns.T @ torch.linalg.lstsq(images.T, layer.change.T).solution.T
    true = true / true.norm(dim=0)
    missing = layer.missing(true[:, :4])
    assert missing.shape[0] == 2
    features, bright = layer.weights @ missing.T, missing[:, :-1].sum(1)
    found = ClosedSearch().round(layer.columns, features, layer.size, bright, generator(0, "direct"), direct=True)
    assert float((true[:, 4:].T @ found).abs().amax(1).min()) > 0.9999
    closed = ClosedSearch(proof=1e-12).round(
        layer.columns, features, layer.size, bright, generator(0, "direct"), direct=True
    )
    assert closed.shape == (6, 0)
