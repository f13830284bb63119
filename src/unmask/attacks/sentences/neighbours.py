"""Sentences one step away: blocks exchanged, tokens exchanged, replaced, or deleted and inserted."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def reorderings(count: int, limit: int, generator: torch.Generator) -> Tensor:
    """Return permutations (M, count) that exchange two adjacent blocks, or two single tokens.

    Moving a word or a phrase is an exchange of adjacent blocks. Of too many, those with a short
    block are kept, with some chance for the others. A single position has its identity alone.

    Args:
        count: number of free positions.
        limit: most block exchanges to return.
        generator: source of the chance.
    """
    if count < 2:
        return torch.arange(count)[None]
    cuts = torch.combinations(torch.arange(count + 1), 3)
    if len(cuts) > limit:
        shorter = torch.minimum(cuts[:, 1] - cuts[:, 0], cuts[:, 2] - cuts[:, 1])
        order = (shorter + 3 * torch.rand(len(cuts), generator=generator)).argsort()
        cuts = cuts[order[:limit]]
    start, middle, end = cuts[:, 0:1], cuts[:, 1:2], cuts[:, 2:3]
    here, second = torch.arange(count).expand(len(cuts), -1), end - middle
    from_second = (here >= start) & (here < start + second)
    from_first = (here >= start + second) & (here < end)
    blocks = torch.where(from_second, here - start + middle, torch.where(from_first, here - second, here))
    i, j = torch.triu_indices(count, count, 2)
    pairs = torch.arange(count).repeat(len(i), 1)
    row = torch.arange(len(i))
    pairs[row, i], pairs[row, j] = j, i
    return torch.cat([blocks, pairs])


def moves(count: int) -> Tensor:
    """Return the permutations (M, count) that take one position's token to another place and close the gap.

    Args:
        count: number of free positions.
    """
    return holes(count)[0].unique(dim=0)


def replacements(choice: Tensor, distances: Tensor, each: int) -> Tensor:
    """Return the choices (N * each, N) that differ from a choice in one position at most.

    Args:
        choice: (N,).
        distances: (N, K), low where an option fits a position.
        each: options to try per position, the nearest.
    """
    near = distances.topk(min(each, distances.shape[1]), dim=1, largest=False).indices
    changed = choice.repeat(near.numel(), 1)
    row = torch.arange(len(changed))
    changed[row, row // near.shape[1]] = near.flatten()
    return changed


def assignments(distances: Tensor, own: int) -> list[Tensor]:
    """Return choices (N,) of least total distance that use each option once at the most, and their parts.

    The first choice is among the sentence's own tokens: a new order of them. Each cycle of that
    permutation is a change by itself. The last choice is among all options.

    Args:
        distances: (N, K), low where an option fits a position; option k < `own` stands at position k now.
        own: N.
    """
    _, ordered = linear_sum_assignment(distances[:, :own].numpy())
    _, free = linear_sum_assignment(distances.numpy())
    return [torch.from_numpy(ordered), *_cycles(torch.from_numpy(ordered)), torch.from_numpy(free)]


def _cycles(order: Tensor) -> list[Tensor]:
    """Return the permutations that are one cycle of `order` and leave the rest in place."""
    left = {i for i, k in enumerate(order.tolist()) if i != k}
    found = []
    while left:
        cycle, at = torch.arange(len(order)), min(left)
        while at in left:
            left.remove(at)
            cycle[at] = order[at]
            at = int(order[at])
        found.append(cycle)
    return found


def holes(count: int) -> tuple[Tensor, Tensor]:
    """Return the orders (N * N, N) that delete one position and leave a hole at another, and the holes.

    What lies between the two moves up by one; the entry at the hole itself is the deleted
    position and means nothing.

    Args:
        count: number of free positions N.
    """
    here = torch.arange(count)
    deleted, hole = here.repeat_interleave(count)[:, None], here.repeat(count)[:, None]
    rank = torch.where(here < hole, here, here - 1)  # index among the kept tokens
    kept = torch.where(rank < deleted, rank, rank + 1).clamp(0, count - 1)
    return torch.where(here == hole, deleted, kept), hole[:, 0]


def kicked(sentence: Tensor, free: Tensor, allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Return the sentence (n,) with a quarter of its words, one at least, replaced by chance.

    Args:
        sentence: (n,) token ids.
        free: (N,) positions that may change.
        allowed: token ids that can occur.
        generator: source of the chance.
    """
    changed = sentence.clone()
    gone = free[torch.randperm(len(free), generator=generator)[: 1 + len(free) // 4]]
    changed[gone] = allowed[torch.randint(len(allowed), gone.shape, generator=generator)]
    return changed


def joined(current: Tensor, found: Tensor) -> Tensor:
    """Return the first of some sentences (M, n) joined, one after the other, with those that touch other positions.

    Args:
        current: (n,) the sentence that all of them change.
        found: (M, n), best first.

    Returns:
        (J, n), each with one change more than the one before.
    """
    together, touched, joins = found[0], found[0] != current, []
    for other in found[1:]:
        change = other != current
        if bool(change.any()) and not bool((change & touched).any()):
            together, touched = torch.where(change, other, together), touched | change
            joins.append(together)
    return torch.stack(joins) if joins else found[:0]
