"""Permutations that reorder a sentence: the discrete moves of LAMP."""

import torch
from torch import Tensor

MOVES = 4


def proposals(free: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` permutations (count, n) of positions that keep all but the free ones in place.

    They cycle through LAMP's four moves over the free positions: swap two tokens, move one token,
    move a span, move a prefix to the end. Row p means `new[i] = old[p[i]]`.

    Args:
        free: (n,), True where a token may move; at least one position.
        count: number of permutations.
        generator: source of the draws.
    """
    places = free.nonzero()[:, 0]
    result = torch.arange(len(free)).repeat(count, 1)
    for row in range(count):
        order = _move(row % MOVES, len(places), generator)
        result[row, places] = places[order]
    return result


def shuffles(free: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` uniformly random permutations (count, n) of the free positions."""
    places = free.nonzero()[:, 0]
    result = torch.arange(len(free)).repeat(count, 1)
    for row in range(count):
        result[row, places] = places[torch.randperm(len(places), generator=generator)]
    return result


def _move(kind: int, n: int, generator: torch.Generator) -> Tensor:
    def draw(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    order = list(range(n))
    if n < 2:
        return torch.tensor(order)
    if kind == 0:
        i, j = draw(n), draw(n)
        order[i], order[j] = order[j], order[i]
        return torch.tensor(order)
    if kind == 3:
        cut = 1 + draw(n - 1)
        return torch.tensor(order[cut:] + order[:cut])
    start = draw(n)
    stop = start + 1 if kind == 1 else start + 1 + draw(n - start)
    rest = order[:start] + order[stop:]
    at = draw(len(rest) + 1)
    return torch.tensor(rest[:at] + order[start:stop] + rest[at:])
