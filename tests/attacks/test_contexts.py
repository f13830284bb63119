import torch

from unmask.attacks.evidence import Evidence, gather
from unmask.attacks.probes import Probes
from unmask.attacks.sentences.contexts import Contexts
from unmask.attacks.sentences.recall import Recall, likely
from unmask.attacks.sentences.reinsertion import reinserted
from unmask.rng import generator

TEXT = "w3 w41 w5 w90 w26 w11 w60"
ALLOWED = torch.arange(4, 100)


def evidence_of(observe, who, part: str = "value") -> tuple[Evidence, torch.Tensor]:
    observation, ids = observe([TEXT], [1], [f"layer.1.{part}.weight"], who=who)
    (place,) = observation.places
    return gather(who.model, place, observation.tensors[place.name], differences=part == "key"), ids[0]


def test_a_square_shows_every_token_once_at_every_position(observe, precise) -> None:
    for part in ("value", "key", "attention.output"):
        evidence, ids = evidence_of(observe, precise, part)
        free, pool = torch.arange(1, len(ids) - 1), torch.arange(10, 22)
        contexts = Contexts.measure(evidence, ids, free, pool, 2, generator(0))
        assert contexts.rows.shape == (len(evidence.bases), len(free), len(pool), evidence.bases.shape[1])
        assert contexts.fixed.shape[1] == (1 if part == "key" else 2)
        assert bool(contexts.rows.abs().sum(-1).gt(0).all())


def test_true_words_and_positions_come_first(observe, precise) -> None:
    evidence, ids = evidence_of(observe, precise)
    free, pool = torch.arange(1, len(ids) - 1), ALLOWED[torch.randperm(96, generator=generator(1))]
    contexts = Contexts.measure(evidence, ids, free, pool, 4, generator(0))
    table = contexts.table(evidence.whitened(contexts.white))
    true = torch.stack([(pool == token).nonzero()[0, 0] for token in ids[free]])
    distances = table.distances(relative=True)
    ranks = (distances < distances[torch.arange(len(free)), true][:, None]).sum(1)
    assert float(ranks.double().mean()) < 0.1 * len(pool)
    assert int((table.greedy() == true).sum()) >= len(free) // 2


def test_recall_finds_the_word_that_a_guess_lacks(observe, precise) -> None:
    evidence, ids = evidence_of(observe, precise)
    free, guess = torch.arange(1, len(ids) - 1), ids.clone()
    guess[4] = 50
    recall = Recall.measure(evidence, guess, free, ALLOWED, generator(0))
    rows = evidence.blocks(precise.model.inputs(guess[None], [evidence.place])[evidence.place.name][0])
    assert int(ids[4]) in recall.missing(evidence, rows, 5).tolist()
    probes = Probes.measure(evidence, ALLOWED, generator(0))
    first, second = (likely(probes, evidence, rows, ALLOWED, 20, turn) for turn in (0, 1))
    assert 10 <= len(first) <= 20 and not torch.equal(first, second)


def test_a_word_is_deleted_and_another_inserted(observe, precise) -> None:
    evidence, ids = evidence_of(observe, precise)
    free = torch.arange(1, len(ids) - 1)
    guess = ids.clone()
    guess[2:7] = torch.tensor([*ids[3:7].tolist(), 50])  # the second word is gone, and a wrong one stands late
    own = torch.zeros(len(free))
    own[5] = 1.0
    found = reinserted(evidence, guess, free, own, torch.cat([ALLOWED[30:60], ids[free]]).unique())
    assert any(torch.equal(sentence, ids) for sentence in found)
    assert bool((found[:, [0, -1]] == ids[[0, -1]]).all())
