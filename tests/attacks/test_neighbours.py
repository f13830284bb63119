import itertools

import pytest
import torch

from unmask.attacks.sentences.neighbours import assignments, holes, reorderings, replacements
from unmask.rng import generator


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 15])
@pytest.mark.parametrize("limit", [10, 2500])
def test_reorderings_are_permutations(count: int, limit: int) -> None:
    orders = reorderings(count, limit, generator(0))
    assert len(orders) >= 1
    assert torch.equal(orders.sort(1).values, torch.arange(count).expand(len(orders), -1))
    assert torch.equal(orders, reorderings(count, limit, generator(0)))


def test_every_exchange_of_adjacent_blocks_and_of_two_tokens_is_there_once() -> None:
    orders = [tuple(row) for row in reorderings(5, 2500, generator(0)).tolist()]
    assert (2, 3, 0, 1, 4) in orders  # the blocks 0-1 and 2-3
    assert (1, 2, 3, 4, 0) in orders  # the first token goes last
    assert (4, 1, 2, 3, 0) in orders  # the first and the last token
    assert len(orders) == len(set(orders)) == 20 + 6  # C(6, 3) pairs of blocks, 6 pairs of tokens with others between


def test_of_too_many_block_exchanges_short_ones_stay() -> None:
    orders = reorderings(14, 60, generator(1))
    pairs = 13 * 12 // 2
    assert len(orders) == 60 + pairs
    moved = (orders[:60] != torch.arange(14)).sum(1)
    everything = (reorderings(14, 10**6, generator(1))[:-pairs] != torch.arange(14)).sum(1)
    assert float(moved.double().mean()) < float(everything.double().mean())


def test_replacements_differ_in_one_place_at_most() -> None:
    choice, distances = torch.tensor([2, 0, 3]), torch.tensor([[0.1, 0.2, 0.3, 0.4], [4, 3, 2, 1], [1, 0, 0.5, 2]])
    changed = replacements(choice, distances, 2)
    assert changed.tolist() == [[0, 0, 3], [1, 0, 3], [2, 3, 3], [2, 2, 3], [2, 0, 1], [2, 0, 2]]
    assert len(replacements(choice, distances, 9)) == 12 and torch.equal(choice, torch.tensor([2, 0, 3]))


def test_assignments_cost_least_and_hold_each_cycle() -> None:
    distances = torch.rand(5, 7, generator=generator(2), dtype=torch.float64)
    distances[:, 5:] += 1
    ordered, *cycles, everything = assignments(distances, 5)
    costs = {p: float(distances[range(5), p].sum()) for p in itertools.permutations(range(5))}
    assert min(costs, key=costs.__getitem__) == tuple(ordered.tolist())
    assert len(set(everything.tolist())) == 5
    here = torch.arange(5)
    assert torch.equal(sum(cycle - here for cycle in cycles), ordered - here)
    for cycle in cycles:
        assert bool((cycle != here).any()) and cycle.sort().values.tolist() == here.tolist()


def test_a_hole_shifts_what_lies_between() -> None:
    order, hole = holes(4)
    assert len(order) == 16
    for row, empty, deleted in zip(order.tolist(), hole.tolist(), [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4, strict=True):
        kept = [k for k in range(4) if k != deleted]
        assert row == [*kept[:empty], deleted, *kept[empty:]]
