"""A small task on which attention is needed: look up the value that belongs to a key."""

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.poly.conversion.data import Part
from unmask.rng import generator

KEYS, VALUES = 6, 4


def recall(count: int, seed: int, *, tokens: int = 7, noise: float = 0.2) -> Part:
    """Return sequences whose first token asks for a key and whose class is the value that stands beside it.

    Token 0 is (one-hot of the asked key, zeros); the others are (one-hot of a key, one-hot of a value) in a random
    order, each key at most once and the asked one among them. Without attention between tokens, no better than
    the most common class: every value but the right one is as likely.

    Args:
        count: number of sequences N.
        seed: of everything drawn.
        tokens: n, from 2 to 7.
        noise: deviation of the normal noise on every number.

    Returns:
        Inputs (N, n, 10) and classes (N,) from 0 to 3.

    Raises:
        BadInput: if there are more pairs than keys, or none.

    Source: associative recall, as in Ba et al., 2016, "Using fast weights to attend to the recent past".
    """
    pairs = tokens - 1
    if not 1 <= pairs <= KEYS:
        raise BadInput("tokens", tokens, f"does not leave 1 to {KEYS} pairs", f"give 2 to {KEYS + 1}")
    draw = generator(seed, "recall")
    keys = torch.rand(count, KEYS, generator=draw).argsort(1)[:, :pairs]
    values = torch.randint(VALUES, (count, pairs), generator=draw)
    asked = torch.randint(pairs, (count, 1), generator=draw)
    inputs = noise * torch.randn(count, tokens, KEYS + VALUES, generator=draw)
    inputs[:, 0, :KEYS] += _hot(keys.gather(1, asked)[:, 0], KEYS)
    inputs[:, 1:, :KEYS] += _hot(keys, KEYS)
    inputs[:, 1:, KEYS:] += _hot(values, VALUES)
    return Part(inputs=inputs, targets=values.gather(1, asked)[:, 0])


def _hot(numbers: Tensor, count: int) -> Tensor:
    return torch.nn.functional.one_hot(numbers, count).float()
