"""Sentences one step away: blocks exchanged, tokens exchanged, replaced, or deleted and inserted."""

import torch
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


def replacements(choice: Tensor, options: int) -> Tensor:
    """Return the choices (N * options, N) that differ from a choice in one position at most.

    Args:
        choice: (N,).
        options: number of options per position.
    """
    count = len(choice)
    changed = choice.repeat(count * options, 1)
    row = torch.arange(count * options)
    changed[row, row // options] = row % options
    return changed


def reinsertions(choice: Tensor, deleted: Tensor, inserted: Tensor) -> Tensor:
    """Return choices with one position deleted and one option inserted anywhere.

    Args:
        choice: (N,).
        deleted: positions that may go.
        inserted: options that may come.
    """
    count = len(choice)
    here, target = torch.arange(count)[None], torch.arange(count)[:, None]
    source = torch.where(here < target, here, here - 1).clamp(0, max(0, count - 2))
    found = []
    for position in deleted.tolist():
        rest = torch.cat([choice[:position], choice[position + 1 :]])
        for option in inserted.tolist():
            made = rest[source] if count > 1 else choice.repeat(1, 1)
            made[torch.arange(count), torch.arange(count)] = option
            found.append(made)
    return torch.cat(found)
