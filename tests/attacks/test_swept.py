"""The search behind an attention output whose heads are full, and its parts against slow twins."""

from itertools import islice

import pytest
import torch
from torch.nn import functional as F

from unmask.attacks.evidence import gather
from unmask.attacks.rough import rough
from unmask.attacks.sentences.last_attention import LastAttention, attention_places
from unmask.attacks.sentences.neighbours import joined, kicked, moves
from unmask.attacks.sentences.swept_search import SOLVED, SweptSearch
from unmask.attacks.sentences.word_ranking import WordRanking
from unmask.public import Component
from unmask.rng import generator

ALLOWED = torch.arange(4, 100)
TEXT = " ".join(f"w{k}" for k in range(20, 33))


def place_of(model, layer):
    return next(p for p in model.places if p.layer == layer and p.component is Component.ATTENTION_OUTPUT)


def frozen_of(model, place, ids):
    table = model.embedding()
    features = F.layer_norm(table, table.shape[1:])
    places = attention_places(model, place)
    assert places is not None
    free = torch.arange(1, len(ids) - 1)
    return LastAttention.measure(model, places, place.heads, ids, free, features, ALLOWED, generator(0)), features


def test_a_word_in_front_of_the_first_attention_gives_the_rows_of_a_replay(observe, precise) -> None:
    model, place = precise.model, place_of(precise.model, 0)
    _, ids = observe([TEXT], [1], [place.name], who=precise)
    frozen, _ = frozen_of(model, place, ids[0])
    tokens = torch.tensor([7, 50, 90])
    for position in (1, 6, ids.shape[1] - 2):
        changed = ids.repeat(3, 1)
        changed[:, position] = tokens
        queries = attention_places(model, place)[0]
        hidden = model.inputs(changed, [queries])[queries.name][:, position]
        found = frozen.substituted(position, hidden)
        assert torch.allclose(found, model.inputs(changed, [place])[place.name], atol=1e-9)


def test_a_later_attention_is_exact_where_the_layers_below_stay(observe, precise) -> None:
    model, place = precise.model, place_of(precise.model, 1)
    _, ids = observe([TEXT], [1], [place.name], who=precise)
    frozen, _ = frozen_of(model, place, ids[0])
    queries, keys, values = attention_places(model, place)
    own = model.inputs(ids, [queries])[queries.name][0]
    hidden = torch.randn(2, own.shape[1], generator=generator(1), dtype=own.dtype)
    found = frozen.substituted(4, hidden)
    for k in range(2):
        x = own.clone()
        x[4] = hidden[k]
        split = [
            (x @ w.T + b).unflatten(-1, (place.heads, -1)).transpose(0, 1)
            for w, b in (model.affine(p) for p in (queries, keys, values))
        ]
        slow = ((split[0] @ split[1].transpose(1, 2) / split[0].shape[-1] ** 0.5).softmax(-1) @ split[2]).transpose(
            0, 1
        )
        assert torch.allclose(found[k], slow.flatten(1), atol=1e-10)


def test_orders_move_words_with_the_difference_of_their_positions(observe, precise) -> None:
    model, place = precise.model, place_of(precise.model, 0)
    _, ids = observe([TEXT], [1], [place.name], who=precise)
    frozen, _ = frozen_of(model, place, ids[0])
    count = len(frozen.free)
    here = torch.arange(count)
    swapped = here.clone()
    swapped[[2, 7]] = swapped[[7, 2]]
    found = frozen.reordered(torch.stack([here, swapped]))
    changed = ids.repeat(2, 1)
    changed[1, frozen.free] = ids[0, frozen.free][swapped]
    rows = model.inputs(changed, [place])[place.name]
    assert torch.allclose(found[0], rows[0], atol=1e-9)
    left = (found[1] - rows[1]).norm() / (rows[0] - rows[1]).norm()
    assert left < 0.5, "positions are not added to words exactly, a norm stands behind them"


def test_moves_take_one_token_elsewhere() -> None:
    found = moves(4)
    assert len(found) == 1 + 3 * 3
    slow = set()
    for i in range(4):
        for j in range(4):
            rest = [k for k in range(4) if k != i]
            rest.insert(j, i)
            slow.add(tuple(rest))
    assert {tuple(order.tolist()) for order in found} == slow


def test_changes_of_other_positions_are_joined_and_a_quarter_is_kicked() -> None:
    current = torch.zeros(8, dtype=torch.long)
    found = torch.zeros(4, 8, dtype=torch.long)
    found[0, 1], found[1, 1], found[2, 5], found[3, 6] = 9, 8, 7, 6
    joins = joined(current, found)
    assert joins.tolist() == [[0, 9, 0, 0, 0, 7, 0, 0], [0, 9, 0, 0, 0, 7, 6, 0]]
    assert len(joined(current, found[:2])) == 0
    free = torch.arange(1, 7)
    changed = kicked(current, free, ALLOWED, generator(0))
    assert int((changed != current).sum()) == 2 and changed[[0, 7]].tolist() == [0, 0]


def test_the_ranking_finds_untried_words_by_the_tried_ones() -> None:
    chance = generator(0)
    features = torch.randn(300, 12, generator=chance)
    truth = torch.randn(2, 12, generator=chance)
    scores = truth @ features.T
    ranking = WordRanking(features, 2, shared=1.0, local=1.0)
    for i in range(2):
        tried = torch.randperm(300, generator=chance)[:60]
        ranking.add(i, tried, 5 + 0.01 * scores[i, tried])
    found = ranking.predicted()
    for i in range(2):
        assert torch.corrcoef(torch.stack([found[i], scores[i]]))[0, 1] > 0.95
    ranking.fade()
    for i in range(2):
        ranking.add(i, torch.arange(200), -scores[i, :200])
    assert torch.corrcoef(torch.stack([ranking.predicted()[0], scores[0]]))[0, 1] < -0.5, "the old fades"


def test_a_sentence_longer_than_a_head_is_found(observe, deep) -> None:
    place = place_of(deep.model, 1)
    observation, ids = observe([TEXT], [1], [place.name], who=deep)
    evidence = gather(deep.model, place, observation.tensors[place.name], differences=False)
    assert evidence.place is place, "longer than a head is wide"
    start, free = ids[0].clone(), torch.arange(1, ids.shape[1] - 1)
    start[free] = 0
    search = SweptSearch(
        plain=evidence,
        places=attention_places(deep.model, place),
        ids=start,
        free=free,
        allowed=ALLOWED,
        generator=generator(0),
    )
    found = list(islice(search.run(), 40))
    shares = [share for _, share in found]
    assert shares == sorted(shares, reverse=True)
    assert torch.equal(found[-1][0], ids[0]) and shares[-1] < SOLVED and len(found) < 40


def test_an_attention_of_another_form_is_not_frozen(precise, monkeypatch) -> None:
    place = place_of(precise.model, 1)
    weight, bias = precise.model.affine(next(p for p in precise.model.places if p.component is Component.VALUE))
    monkeypatch.setattr(type(precise.model), "affine", lambda *_: (2 * weight, bias))
    assert attention_places(precise.model, place) is None


def test_rough_products_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.randn(64, 64, generator=generator(0))
    with rough():
        found = F.linear(a, a).float()
    assert torch.allclose(found, a @ a.T, atol=0.5)
    monkeypatch.setattr("unmask.attacks.rough.native", lambda: False)
    with rough():
        assert F.linear(a, a).dtype is torch.float32
