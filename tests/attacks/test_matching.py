from dataclasses import replace

import pytest
import torch

from unmask.attacks.matching.continuous import Descent, Matching
from unmask.attacks.matching.distances import Distance
from unmask.attacks.matching.lamp import PUBLISHED, Lamp
from unmask.attacks.matching.matching import GradientMatching, dlg, tag
from unmask.attacks.matching.moves import proposals, shuffles
from unmask.errors import BadInput
from unmask.rng import generator

TEXT = "w3 w41 w5 w90 w26 w11"
NAMES = ["layer.0.query.weight", "layer.1.ffn.in.weight"]


def quick(steps: int, draws: int, swaps: int) -> Lamp:
    return Lamp(descent=replace(PUBLISHED, steps=steps, candidates=draws, shuffles=draws), swaps=swaps)


QUICK = quick(300, 60, 60)


def recall(ids, tokens) -> float:
    secret = ids[0, 1:-1].tolist()
    return sum(token in tokens[0] for token in secret) / len(secret)


def test_lamp_lowers_its_loss_and_finds_tokens(observe) -> None:
    observation, ids = observe([TEXT], [1], NAMES)
    guesses = list(QUICK.run(observation, generator(0)))
    assert guesses[-1].done and guesses[-1].loss < 0.3 * guesses[0].loss
    assert recall(ids, guesses[-1].tokens) >= 0.5
    assert "language prior: none" in guesses[-1].note
    assert all(len(guess.tokens[0]) == ids.shape[1] for guess in guesses)


def test_same_seed_same_guesses(observe) -> None:
    observation, _ = observe([TEXT], [1], NAMES[:1])
    short = quick(80, 10, 10)
    assert list(short.run(observation, generator(3))) == list(short.run(observation, generator(3)))


def test_noise_instead_of_a_gradient_gives_chance(observe) -> None:
    observation, ids = observe([TEXT], [1], NAMES)
    for name, value in observation.tensors.items():
        observation.tensors[name] = torch.randn(value.shape, generator=generator(5, name))
    last = list(QUICK.run(observation, generator(0)))[-1]
    assert recall(ids, last.tokens) <= 0.34 and last.loss > 0.3


def test_a_zero_gradient_is_named_absent(observe) -> None:
    observation, _ = observe([TEXT], [1], NAMES[:1])
    observation.tensors[NAMES[0]] = torch.zeros(32, 32)
    (only,) = dlg().run(observation, generator(0))
    assert only.absent and only.done and only.tokens == ()


def test_unknown_labels_and_lengths(observe) -> None:
    observation, ids = observe([TEXT], [2], ["layer.0.value.weight"], labels=None, lengths=None)
    last = list(QUICK.run(observation, generator(0)))[-1]
    assert len(last.tokens[0]) == ids.shape[1] and "inferred" in last.note and "of 3 tried" in last.note


@pytest.mark.parametrize("attack", [dlg(), tag()])
def test_dlg_and_tag_descend(observe, attack: GradientMatching) -> None:
    observation, _ = observe([TEXT], [1], NAMES)
    short = replace(attack, descent=replace(attack.descent, steps=150))
    guesses = list(short.run(observation, generator(0)))
    assert guesses[-1].loss < guesses[0].loss


def test_a_batch_is_matched_jointly(observe) -> None:
    observation, ids = observe([TEXT, "w7 w8 w9 w50 w51 w52"], [0, 1], NAMES)
    last = list(quick(40, 20, 10).run(observation, generator(0)))[-1]
    assert len(last.tokens) == 2 and all(len(tokens) == ids.shape[1] for tokens in last.tokens)


def test_candidates_together_equal_candidates_alone(observe) -> None:
    observation, _ = observe(
        [TEXT], [1], [*NAMES, "layer.0.query.bias", "bert.encoder.layer.0.output.LayerNorm.weight"]
    )
    settings = Descent(distance=Distance.COSINE, steps=1, learning_rate=0.1)
    matching = Matching.of(observation, settings)
    x = torch.randn(7, 1, 8, 32)
    runs = torch.zeros(7, dtype=torch.long)
    alone = torch.cat([matching.losses(x[i : i + 1], runs[:1]) for i in range(7)])
    assert torch.allclose(matching.losses(x, runs), alone, atol=1e-5)


def test_moves_permute_only_free_positions() -> None:
    free = torch.tensor([False, True, True, True, True, False])
    for orders in (proposals(free, 40, generator(0)), shuffles(free, 40, generator(0))):
        assert torch.equal(orders.sort(1).values, torch.arange(6).repeat(40, 1))
        assert (orders[:, 0] == 0).all() and (orders[:, 5] == 5).all()
        assert len({tuple(row) for row in orders.tolist()}) > 8


def test_bad_settings_are_named() -> None:
    with pytest.raises(BadInput, match="steps"):
        quick(0, 10, 10)
