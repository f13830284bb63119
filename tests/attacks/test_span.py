from itertools import islice

import pytest
import torch

from unmask.attack import Reconstruction
from unmask.attacks.span import SpanSearch
from unmask.errors import MissingExtra
from unmask.observation import Knowledge, Observation
from unmask.rng import generator
from unmask.victims import corpora, demo, hf

TEXT = "w3 w41 w5 w90 w26 w11"
OTHER = "w7 w8 w9 w50 w51 w52"
ROUNDS = 40
"""Most guesses that a search may take here."""


def guesses(observation: Observation, seed: int = 0) -> list[Reconstruction]:
    """Return the guesses up to the one that ends the search."""
    found = []
    for guess in islice(SpanSearch().run(observation, generator(seed)), ROUNDS):
        found.append(guess)
        if guess.done:
            break
    return found


def sequences(ids: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(row) for row in ids.tolist()}


@pytest.mark.parametrize("part", ["query", "key", "value"])
@pytest.mark.parametrize("known", [{}, {"labels": None, "lengths": None}], ids=["known", "unknown"])
def test_a_first_layer_is_read_exactly(observe, precise, part: str, known: dict[str, object]) -> None:
    observation, ids = observe([TEXT], [1], [f"layer.0.{part}.weight"], who=precise, **known)
    (only,) = guesses(observation)
    assert set(only.tokens) == sequences(ids) and only.done
    assert only.residual is not None and only.residual < 1e-5
    assert only.confidence == ((1.0,) * (ids.shape[1] - 2),) and "6 of" in only.note


@pytest.mark.parametrize("part", ["query", "key", "value", "attention.output", "ffn.in", "ffn.out"])
def test_a_middle_layer_is_searched_exactly(observe, deep, part: str) -> None:
    observation, ids = observe([TEXT], [2], [f"layer.1.{part}.weight"], who=deep, labels=None, lengths=None)
    last = guesses(observation)[-1]
    assert set(last.tokens) == sequences(ids) and last.done
    assert last.residual is not None and last.residual < 1e-4


@pytest.mark.parametrize("text", ["w3", "w3 w41"])
def test_short_sentences(observe, deep, text: str) -> None:
    observation, ids = observe([text], [0], ["layer.1.value.weight"], who=deep)
    assert set(guesses(observation)[-1].tokens) == sequences(ids)


@pytest.mark.parametrize("part", ["query", "attention.output", "ffn.in", "ffn.out"])
def test_one_vector_of_a_last_layer_gives_the_sentence_away(observe, deep, part: str) -> None:
    observation, ids = observe([TEXT], [1], [f"layer.2.{part}.weight"], who=deep)
    last = guesses(observation)[-1]
    assert set(last.tokens) == sequences(ids) and last.done
    assert last.residual is not None and last.residual < 1e-3


def test_no_weight_no_guess(observe, deep) -> None:
    observation, _ = observe([TEXT], [1], ["layer.1.query.bias"], who=deep)
    (only,) = guesses(observation)
    assert only.done and only.tokens == () and "no weight" in only.note


@pytest.mark.parametrize("layer", [0, 1])
def test_gradients_of_two_sentences_give_no_certificate(observe, deep, layer: int) -> None:
    names = [f"layer.{layer}.{part}.weight" for part in ("query", "value")]
    observation, ids = observe([TEXT], [1], names, who=deep)
    other, wrong = observe([OTHER], [1], names, who=deep)
    mixed = {names[0]: observation.tensors[names[0]], names[1]: other.tensors[names[1]]}
    null = Observation(tensors=mixed, model=deep.model, knowledge=observation.knowledge)
    found = list(islice(SpanSearch().run(null, generator(0)), 4))
    assert all(guess.residual is None or guess.residual > 0.1 for guess in found)
    # A whole gradient of another sentence proves that sentence, never this one.
    last = guesses(other)[-1]
    assert set(last.tokens) == sequences(wrong) != sequences(ids)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("known", [{}, {"lengths": None}], ids=["known", "unknown"])
def test_noise_gives_no_certificate(observe, deep, layer: int, known: dict[str, object]) -> None:
    name = f"layer.{layer}.query.weight"
    observation, _ = observe([TEXT], [1], [name], who=deep, **known)
    noise = {name: torch.randn(observation.tensors[name].shape)}
    null = Observation(tensors=noise, model=deep.model, knowledge=observation.knowledge)
    for guess in islice(SpanSearch().run(null, generator(0)), 2):
        assert guess.residual is None or guess.residual > 0.1


@pytest.mark.parametrize("layer", [0, 1])
def test_a_zero_gradient_ends_at_once(observe, deep, layer: int) -> None:
    name = f"layer.{layer}.query.weight"
    observation, _ = observe([TEXT], [1], [name], who=deep)
    null = Observation(
        tensors={name: torch.zeros_like(observation.tensors[name])}, model=deep.model, knowledge=observation.knowledge
    )
    (only,) = guesses(null)
    assert only.done and only.tokens == () and only.residual is None


def test_same_seed_same_guesses(observe, deep) -> None:
    observation, _ = observe([TEXT], [1], ["layer.1.query.weight"], who=deep)
    first, _, second = guesses(observation, 3), guesses(observation, 4), guesses(observation, 3)
    assert first == second


@pytest.mark.parametrize("known", [{}, {"lengths": None}], ids=["known", "unknown"])
@pytest.mark.parametrize("part", ["query", "key"])
def test_a_batch_is_assembled(observe, precise, part: str, known: dict[str, object]) -> None:
    texts = ["w3 w41 w5 w90 w26", "w7 w8 w9 w50 w51", "w60 w3 w70 w20 w5"]
    names = ["layer.0.query.weight", f"layer.1.{part}.weight"]
    observation, ids = observe(texts, [0, 1, 2], names, who=precise, **known)
    last = guesses(observation)[-1]
    assert set(last.tokens) == sequences(ids) and last.done and last.note.startswith("3 of 3")
    assert set(last.bag) == set(ids[:, 1:-1].flatten().tolist())


def test_a_batch_in_one_layer_is_a_bag(observe, deep) -> None:
    observation, ids = observe([TEXT, OTHER], [0, 1], ["layer.0.query.weight"], who=deep)
    (only,) = guesses(observation)
    assert set(only.bag) == set(ids[:, 1:-1].flatten().tolist()) and only.tokens == () and "words only" in only.note
    observation, _ = observe([TEXT, OTHER], [0, 1], ["layer.1.query.weight"], who=deep)
    (only,) = guesses(observation)
    assert only.tokens == () and only.bag == () and "first-layer" in only.note


def test_a_real_encoder_gives_its_sentence_away() -> None:
    try:
        folder = demo.directory()
    except MissingExtra:
        pytest.skip("needs the extra demo")
    loaded = hf.load(str(folder))
    ids = torch.tensor([loaded.encode(corpora.private()[0].text)])
    places = [place for place in loaded.model.places if place.name == "layer.0.query.weight"]
    gradients = loaded.model.gradients(ids, torch.tensor([1]), places)
    tensors = {name: value[0] for name, value in gradients.items()}
    observation = Observation(tensors=tensors, model=loaded.model, knowledge=Knowledge())
    (only,) = guesses(observation)
    assert set(only.tokens) == sequences(ids) and only.done
    assert only.residual is not None and only.residual < 1e-4
