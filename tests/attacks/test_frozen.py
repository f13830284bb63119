import pytest
import torch

from unmask.attacks.evidence import Evidence, gather
from unmask.attacks.sentences.frozen import options, substitutions

RIDGE = 5e-4
"""What the ridge of the frozen scores, meant for float32, may move a share by."""
TEXT = "w3 w41 w5 w90 w26"
NAMES = ["layer.1.query.weight", "layer.1.key.weight", "layer.1.attention.output.weight"]


def evidence_of(observation, *, differences: bool) -> Evidence:
    (place,) = observation.places
    return gather(observation.model, place, observation.tensors[place.name], differences=differences)


@pytest.fixture(params=NAMES)
def case(request, observe, precise) -> tuple[Evidence, torch.Tensor, torch.Tensor]:
    """Evidence of a sentence, another sentence that shares some of its words, and the free positions."""
    observation, ids = observe([TEXT], [1], [request.param], who=precise)
    guess = ids[0].clone()
    guess[[1, 3]] = torch.tensor([60, int(ids[0, 1])])
    return evidence_of(observation, differences="key" in request.param), guess, torch.arange(1, len(guess) - 1)


def test_an_unchanged_choice_scores_as_its_replay(case) -> None:
    evidence, guess, free = case
    replayed = float(evidence.of_sequences(guess[None]))
    pool = torch.cat([guess[free], torch.arange(30, 40)]).unique()
    table = substitutions(evidence, guess, free, pool)
    assert (table.positions, table.options) == (len(free), len(pool))
    assert table.fixed == (1 if evidence.differences else 2)
    same = torch.searchsorted(pool, guess[free])
    assert float(table.scores(same[None])) == pytest.approx(replayed, abs=RIDGE)
    shifted = options(evidence, guess, free, torch.arange(70, 73))
    assert shifted.options == len(free) + 3
    assert float(shifted.scores(torch.arange(len(free))[None])) == pytest.approx(replayed, abs=RIDGE)


def test_many_choices_score_as_each_alone(case) -> None:
    evidence, guess, free = case
    table = options(evidence, guess, free, torch.arange(70, 73))
    orders = torch.stack([torch.randperm(len(free)) for _ in range(20)])
    alone = torch.cat([table.scores(order[None]) for order in orders])
    assert torch.allclose(table.scores(orders), alone, atol=1e-9)
    assert float(alone.min()) > -1e-6 and float(alone.max()) <= 1


def test_greedy_returns_a_valid_choice_better_than_a_random_one(case) -> None:
    evidence, guess, free = case
    pool = torch.arange(4, 100)
    table = substitutions(evidence, guess, free, pool)
    choice = table.greedy()
    assert choice.shape == (len(free),) and bool(((choice >= 0) & (choice < len(pool))).all())
    random = torch.randint(len(pool), (50, len(free)))
    assert float(table.scores(choice[None])) < float(table.scores(random).mean())


def test_options_beyond_the_sentence_are_substitutions(case) -> None:
    evidence, guess, free = case
    extra = torch.arange(70, 73)
    joint, alone = options(evidence, guess, free, extra), substitutions(evidence, guess, free, extra)
    rows = joint.rows[:, joint.fixed :].unflatten(1, (len(free), -1))[:, :, len(free) :]
    assert torch.allclose(rows, alone.rows[:, alone.fixed :].unflatten(1, (len(free), -1)), atol=1e-9)


def test_distances_are_the_part_outside_the_span(case) -> None:
    evidence, guess, free = case
    table = options(evidence, guess, free, torch.arange(70, 73))
    found, share = table.distances(relative=False), table.distances(relative=True)
    rows = table.rows[:, table.fixed :]
    outside = (rows - rows @ evidence.bases @ evidence.bases.transpose(1, 2)).square().sum(-1)
    assert torch.allclose(found, outside.mean(0).view(len(free), -1), atol=1e-9)
    assert torch.allclose(share, (outside / rows.square().sum(-1)).mean(0).view(len(free), -1), atol=1e-9)
