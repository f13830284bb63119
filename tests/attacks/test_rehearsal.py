import pytest
import torch

from tests import tiny as families
from unmask.attacks.rehearsal import LENGTH, Rehearsal, rehearse
from unmask.rng import generator
from unmask.victims import hf


def rehearsed(who: hf.Loaded, name: str, seed: int = 0) -> Rehearsal:
    model = who.model
    place = next(place for place in model.places if place.name == name)
    allowed = torch.tensor([i for i in range(model.vocabulary.size) if i not in model.vocabulary.special])
    return rehearse(model, place, allowed, generator(seed, "rehearsal"))


@pytest.mark.parametrize("name", ["layer.0.query.weight", "layer.1.value.weight", "layer.1.ffn.in.weight"])
def test_a_middle_layer_shows_every_position(precise, name: str) -> None:
    found = rehearsed(precise, name)
    assert found.visible == tuple(range(LENGTH)) and found.rank == found.length == LENGTH
    assert found.complete and not found.differences and not found.single and found.missing == 0
    assert len(found.inside) == LENGTH and float(found.inside.max()) < 1e-9


def test_a_key_shows_differences(precise) -> None:
    found = rehearsed(precise, "layer.0.key.weight")
    assert found.differences and found.visible == () and found.missing == 1 and found.complete
    assert len(found.inside) == LENGTH - 1 and float(found.inside.max()) < 1e-9


def test_the_last_layers_query_shows_the_first_position_alone(deep) -> None:
    found = rehearsed(deep, "layer.2.query.weight")
    assert found.visible == (0,) and found.single and found.rank == 1 and not found.complete


def test_a_causal_model_does_not_show_its_last_token() -> None:
    found = rehearsed(families.loaded("gpt2"), "layer.1.ffn.in.weight")
    assert found.visible == tuple(range(LENGTH - 1)) and found.missing == 1 and found.complete


def test_same_seed_same_rehearsal(deep) -> None:
    first, second, other = (rehearsed(deep, "layer.1.query.weight", seed) for seed in (0, 0, 1))
    assert torch.equal(first.inside, second.inside) and not torch.equal(first.inside, other.inside)
