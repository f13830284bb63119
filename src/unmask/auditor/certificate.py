"""How far a true guess's replay may be from what was seen: measured, not set."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from unmask.errors import BadInput
from unmask.public import Kind
from unmask.rng import generator
from unmask.surface import Release, Surface
from unmask.victim import Secret, Victim

DECOYS = 4
MARGIN = 10.0
CROWD = 8
"""Copies of a decoy that are replayed at once: attacks replay many guesses together, and that rounds otherwise."""
ENTRIES = 2**26
"""At most this many numbers are held for it."""
FLOOR = 1e-6
"""Ten units in the last place of float32: small models often replay bit by bit, on one machine."""
CEILING = 1e-3
"""Above this a replay agrees with more than one guess, whatever the decoys say."""


def threshold(victim: Victim, surface: Surface, guess: Sequence[Sequence[int]], seed: int) -> float:
    """Return the largest relative residual that rounding alone explains.

    Random sequences of the guess's lengths go both ways: through the victim's training step and through
    the adversary's replay. The threshold is ten times the largest `||replay - seen|| / ||seen||` of
    four such pairs, at least 1e-6 and at most 1e-3. It uses nothing that the adversary does not have.

    Args:
        victim: whose model and mechanism are meant; its secret is not used.
        surface: what is seen.
        guess: the recovered sequences, of which only the lengths matter.
        seed: the run's seed.
    """
    worst = 0.0
    for index in range(DECOYS):
        decoy = _decoy(victim, [len(ids) for ids in guess], generator(seed, "decoy", index))
        try:
            worst = max(worst, _residual(replace(victim, secret=decoy), surface))
        except BadInput:
            return 0.0  # a decoy that leaves no trace here measures nothing
    return min(max(MARGIN * worst, FLOOR), CEILING)


def _decoy(victim: Victim, lengths: Sequence[int], draw: torch.Generator) -> Secret:
    vocabulary = victim.model.vocabulary
    ordinary = torch.tensor([i for i in range(vocabulary.size) if i not in vocabulary.special])
    longest = max(lengths)
    ids = torch.full((len(lengths), longest), vocabulary.pad or 0)
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    for row, length in enumerate(lengths):
        ids[row, :length] = ordinary[torch.randint(len(ordinary), (length,), generator=draw)]
        ids[row, : len(vocabulary.prefix)] = torch.tensor(vocabulary.prefix, dtype=torch.long)[:length]
    classes = victim.model.classes
    labels = None if classes is None else torch.randint(classes, (len(lengths),), generator=draw)
    return Secret(ids=ids, mask=mask, labels=labels, texts=("",) * len(lengths))


def _residual(victim: Victim, surface: Surface) -> float:
    secret = victim.secret
    assert secret is not None  # the caller has just set it
    seen = surface.with_release(Release()).observe(victim, generator(0))
    mask = None if bool(secret.mask.all()) else secret.mask
    targets = secret.ids if secret.labels is None else secret.labels
    # A table of embeddings has one row for every token, nearly all zero: it costs much here and says little.
    places = [place for place in seen.places if place.kind is not Kind.EMBEDDING] or list(seen.places)
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
        tensor = seen.tensors[name]
        mean = torch.tensordot(weights, gradient.float(), dims=1)
        distance += float((mean - tensor).square().sum())
        norm += float(tensor.square().sum())
    return (distance / norm) ** 0.5
