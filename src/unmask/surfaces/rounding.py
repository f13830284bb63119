"""How far the victim's gradient and the adversary's replay of the same input lie apart by rounding alone."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unmask.public import Kind, Place
from unmask.victim import Victim

CROWD = 8
"""Copies of a decoy that are replayed at once: attacks replay many guesses together, and that rounds otherwise."""
ENTRIES = 2**26
"""At most this many numbers are held for it."""


def gradient_rounding(victim: Victim, seen: Mapping[str, Tensor], places: Sequence[Place]) -> float:
    """Return `||replay - seen|| / ||seen||` for a victim whose secret is a public decoy.

    Args:
        victim: its secret is replayed.
        seen: the exact gradient of its secret, by place name.
        places: the places of `seen`.
    """
    secret = victim.secret
    assert secret is not None  # a decoy
    mask = None if bool(secret.mask.all()) else secret.mask
    targets = secret.ids if secret.labels is None else secret.labels
    # A table of embeddings has one row for every token, nearly all zero: it costs much here and says little.
    places = [place for place in places if place.kind is not Kind.EMBEDDING] or list(places)
    copies = max(1, min(CROWD, ENTRIES // (secret.size * sum(place.size for place in places))))
    crowd = victim.model.gradients(
        torch.cat([secret.ids] * copies),
        torch.cat([targets] * copies),
        places,
        mask=None if mask is None else torch.cat([mask] * copies),
    )
    replayed = {name: tensor[: secret.size] for name, tensor in crowd.items()}
    weights = torch.ones(secret.size) if secret.labels is not None else (secret.mask.sum(1) - 1).float()
    weights = weights / weights.sum()
    distance = norm = 0.0
    for name, gradient in replayed.items():
        tensor = seen[name]
        mean = torch.tensordot(weights, gradient.float(), dims=1)
        distance += float((mean - tensor).square().sum())
        norm += float(tensor.square().sum())
    return (distance / norm) ** 0.5
