import pytest
import torch

from unmask.attacks.neighbours import reinsertions, reorderings, replacements
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
    choice = torch.tensor([2, 0, 3])
    changed = replacements(choice, 4)
    assert changed.shape == (12, 3) and len({tuple(row) for row in changed.tolist()}) == 10
    assert bool(((changed != choice).sum(1) <= 1).all()) and torch.equal(choice, torch.tensor([2, 0, 3]))


def test_a_reinsertion_shifts_what_lies_between() -> None:
    choice = torch.tensor([10, 11, 12, 13])
    found = reinsertions(choice, torch.tensor([3]), torch.tensor([99]))
    assert found.tolist() == [[99, 10, 11, 12], [10, 99, 11, 12], [10, 11, 99, 12], [10, 11, 12, 99]]
    several = reinsertions(choice, torch.tensor([0, 2]), torch.tensor([7, 8, 9]))
    assert several.shape == (2 * 3 * 4, 4)
    assert reinsertions(torch.tensor([5]), torch.tensor([0]), torch.tensor([6])).tolist() == [[6]]
