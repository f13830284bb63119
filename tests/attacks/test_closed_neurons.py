import pytest
import torch

from tests.references.closed import trained
from unmask.attacks.weights.closed_columns import ClosedSearch, Way, distinct
from unmask.attacks.weights.closed_neurons import ClosedNeurons, _independent
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
    known = true[:, :4]
    missing = layer.missing(known)
    assert missing.shape[0] == 2
    features, bright = layer.weights @ missing.T, missing[:, :-1].sum(1)
    found = ClosedSearch().round(layer.columns, features, layer.size, bright, generator(0, "direct"), known, Way.DIRECT)
    assert float((true[:, 4:].T @ found).abs().amax(1).min()) > 0.9999
    closed = ClosedSearch(proof=1e-12).round(
        layer.columns, features, layer.size, bright, generator(0, "direct"), known, Way.DIRECT
    )
    assert closed.shape == (6, 0)


def columns_of(who: WeightsVictim) -> tuple[FirstLayer, torch.Tensor]:
    """Return the layer and, from the images, the columns (r, N) that the search has to find, of norm 1."""
    assert who.secret is not None
    layer = FirstLayer(observed(who))
    images = torch.cat([who.secret.pixels.flatten(1), torch.ones(who.secret.size, 1, dtype=torch.float64)], 1)
    true = layer.columns.T @ torch.linalg.lstsq(images.T, layer.change.T).solution.T
    return layer, true / true.norm(dim=0)


def test_a_mixture_of_found_columns_goes_and_they_stay() -> None:
    layer, true = columns_of(victim((384,))[0])
    mixture = true[:, 1] + 0.08 * true[:, 3]
    found = torch.cat([true[:, :2], (mixture / mixture.norm())[:, None], true[:, 2:5]], 1)
    assert distinct(found[:, :2].T, found[:, 2][None]).shape[0] == 3  # it passes for a column of its own
    kept = _independent(layer, found, 1e-6)
    assert torch.equal(kept, true[:, :5])
    assert torch.equal(_independent(layer, true, 1e-6), true)


def test_a_mixture_is_taken_apart_though_its_columns_cancel_at_some_neurons() -> None:
    layer, true = columns_of(victim((384,))[0])
    search = ClosedSearch(proof=1e-6)
    both = (layer.columns @ true[:, :2]).abs()
    weak = torch.where((both.amin(1) > 1e-4) & (both.amin(1) > both.amax(1) / 4), both.amax(1), torch.inf)
    first, second = (layer.columns @ true[:, :2])[int(weak.argmin())]
    mixture = second * true[:, 0] - first * true[:, 1]  # zero at a neuron that both images open
    mixture = mixture / mixture.norm()
    assert float((mixture @ true[:, :2]).abs().max()) < 0.98
    apart = search._sharpened(layer.columns, mixture, generator(0, "apart"))
    assert float((apart @ true[:, :2]).abs().max()) > 0.9999


def test_starts_apart_do_not_end_at_known_columns() -> None:
    layer, true = columns_of(victim((384, 64))[0])
    missing = layer.missing(true[:, :3])
    features, bright = layer.weights @ missing.T, missing[:, :-1].sum(1)
    found = ClosedSearch().round(
        layer.columns, features, layer.size, bright, generator(0, "apart"), true[:, :3], Way.APART
    )
    assert found.shape[1] > 0
    assert float((true[:, 3:].T @ found).abs().amax(0).min()) > 0.999
