from itertools import pairwise

import pytest
import torch

from tests.tiny import victim
from unmask.attacks.bag import EmbeddingBag
from unmask.attacks.labels import from_head_bias, from_head_weight, from_replay
from unmask.attacks.layout import labellings
from unmask.attacks.matching.soft_span import SoftSpan
from unmask.attacks.span import SpanSearch
from unmask.rng import generator
from unmask.surfaces.dp_gradient import DpGradientSurface
from unmask.surfaces.gradient import GradientSurface

TEXT = "w3 w41 w5 w90 w26 w11"


def hits(ids, tokens) -> float:
    return sum(a == b for a, b in zip(ids[0, 1:-1].tolist(), tokens[0][1:-1], strict=True)) / (ids.shape[1] - 2)


@pytest.mark.parametrize(
    "name",
    [
        "layer.0.query.weight",
        "layer.0.key.weight",
        "layer.0.value.weight",
        "layer.0.ffn.in.weight",
    ],
)
def test_most_tokens_survive_bfloat16(observe, name: str) -> None:
    # The last layer is left out: [CLS] alone reads it, so its gradients have at most one rank per head.
    observation, ids = observe([TEXT], [1], [name], rounded="bfloat16")
    last = list(SoftSpan(shortlist=60, kept=8).run(observation, generator(0)))[-1]
    assert last.done and hits(ids, last.tokens) >= 0.8


def test_length_and_label_need_not_be_known(observe) -> None:
    observation, ids = observe([TEXT], [2], ["layer.0.value.weight"], labels=None, lengths=None)
    last = list(SoftSpan().run(observation, generator(0)))[-1]
    assert hits(ids, last.tokens) == 1


def test_noise_alone_gives_an_empty_guess(observe) -> None:
    # A ratio of noise to gradient so high that what is seen is as good as all noise.
    observation, _ = observe([TEXT], [1], ["layer.0.query.weight"], noise=100.0)
    observation.tensors["layer.0.query.weight"] = torch.randn(32, 32)
    (only,) = SoftSpan().run(observation, generator(0))
    assert only.done and not only.absent and (only.tokens, only.loss) == ((), 1.0)


def test_guesses_only_get_better_and_repeat_with_the_seed(observe) -> None:
    observation, _ = observe([TEXT], [1], ["layer.1.value.weight"], rounded="bfloat16")
    quick = SoftSpan(shortlist=40, steps=20, rounds=3, polished=1, kept=4)
    first, second = (list(quick.run(observation, generator(1))) for _ in range(2))
    assert first == second
    assert all(a.loss >= b.loss for a, b in pairwise(first))


def test_the_bag_is_exact(observe) -> None:
    name = "bert.embeddings.word_embeddings.weight"
    observation, ids = observe([TEXT, "w3 w41 w60 w61 w62 w63"], [0, 1], [name])
    (only,) = EmbeddingBag().run(observation, generator(0))
    assert set(only.bag) == set(ids.flatten().tolist()) and only.done


def test_without_an_embedding_there_is_no_bag(observe) -> None:
    observation, _ = observe([TEXT], [1], ["layer.0.query.weight"])
    (only,) = EmbeddingBag().run(observation, generator(0))
    assert only.absent


@pytest.mark.parametrize("label", [0, 1, 2])
def test_labels_are_exact(observe, tiny, label: int) -> None:
    observation, ids = observe([TEXT], [label], ["layer.1.key.weight"])
    found = from_replay(observation, ids, torch.ones_like(ids, dtype=torch.bool))
    assert found is not None and found.label == label and found.shares[label] == pytest.approx(1, abs=1e-2)
    assert found.residual is not None and found.residual < 1e-3
    observation, _ = observe([TEXT], [label], ["classifier.bias"])
    head = from_head_bias(observation)
    assert head is not None and head.label == label
    observation, _ = observe([TEXT], [label], ["classifier.weight"])
    rows = from_head_weight(observation)
    assert rows is not None and rows.label == label


def test_a_label_that_the_head_shows_is_the_only_one_to_try(observe) -> None:
    seen, _ = observe([TEXT], [2], ["layer.1.key.weight", "classifier.weight"], labels=None)
    assert labellings(seen, 1).tolist() == [[2]]
    unseen, _ = observe([TEXT], [2], ["layer.1.key.weight"], labels=None)
    assert labellings(unseen, 1).tolist() == [[0], [1], [2]]
    noisy, _ = observe([TEXT], [2], ["layer.1.key.weight", "classifier.weight"], labels=None, noise=0.1)
    assert len(labellings(noisy, 1)) == 3


@pytest.mark.parametrize("attack", [SoftSpan(), SpanSearch()])
def test_what_noise_hides_is_not_called_absent(attack: SoftSpan | SpanSearch) -> None:
    who = victim("bert", 1)
    base = GradientSurface(select="0.query", knows_labels=True, knows_lengths=True)
    seen = DpGradientSurface(base=base, clip=1.0, noise=100.0).observe(who, generator(0))
    *_, last = attack.run(seen, generator(0))
    assert not last.absent and last.tokens == () and last.loss == 1.0
