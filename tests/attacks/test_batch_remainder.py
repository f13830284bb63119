from dataclasses import replace

import pytest
import torch

from unmask.attacks.batches.remainder import Remainder

TEXTS = ["w3 w41 w5 w90 w26", "w7 w8 w9 w50 w51", "w60 w3 w70 w20"]
NAMES = ["layer.0.query.weight", "layer.1.query.weight"]


@pytest.mark.parametrize("known", [{}, {"labels": None}, {"lengths": None}], ids=["known", "no labels", "no lengths"])
def test_what_is_left_is_the_gradient_of_the_other_sentences(observe, precise, known: dict[str, object]) -> None:
    observation, ids = observe(TEXTS[:2], [2, 1], NAMES, who=precise, **known)
    other, _ = observe(TEXTS[1:2], [1], NAMES, who=precise)
    whole = Remainder.of(observation, list(observation.places))
    left = whole.without(tuple(ids[0].tolist()))
    for place in observation.places:
        assert torch.allclose(left.tensors[place.name], other.tensors[place.name].double() / 2, atol=1e-7)
        assert left.space(place).rank == ids.shape[1] < whole.space(place).rank
    assert [label for _, label in left.labels] == ([] if "labels" in known else [1])
    empty = left.without(tuple(ids[1].tolist()))
    assert all(empty.space(place).rank == 0 for place in observation.places)


def test_nothing_is_taken_out_of_what_cannot_be_replayed(observe, precise) -> None:
    observation, ids = observe(TEXTS[:2], [2, 1], NAMES, who=precise)
    noisy = replace(observation, knowledge=replace(observation.knowledge, noise=0.01))
    whole = Remainder.of(noisy, list(observation.places))
    assert whole.without(tuple(ids[0].tolist())) is whole
