"""Randomness is an argument: seeds derived from names, never from global state."""

import hashlib

import torch


def generator(seed: int, *names: object) -> torch.Generator:
    """Return a generator whose state depends on `seed` and `names` only.

    Args:
        seed: the run's seed.
        names: anything with a stable `str`, such as an attack's name and an item's index.

    Example:
        >>> bool(torch.rand(1, generator=generator(0, "a")) == torch.rand(1, generator=generator(0, "a")))
        True
    """
    text = "/".join([str(seed), *map(str, names)])
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(value)
