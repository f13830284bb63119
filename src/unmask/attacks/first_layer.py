"""Read the words of a first layer from its span: one test per token and position."""

from collections.abc import Iterator

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.layout import allowed_tokens
from unmask.attacks.rehearsal import Rehearsal
from unmask.attacks.spans import visible_space
from unmask.attacks.threshold import between
from unmask.attacks.unseen import unseen
from unmask.attacks.vocabulary_test import vocabulary_distances
from unmask.observation import Observation
from unmask.public import Place
from unmask.subspace import Subspace


def position_distances(
    observation: Observation, place: Place, space: Subspace, positions: int, *, differences: bool
) -> Tensor:
    """Return the span distance (V, positions) of every token at every position.

    Args:
        observation: what was seen.
        place: whose input has a closed form.
        space: its row space.
        positions: number of positions to test.
        differences: whether the span holds differences to the first position only.

    Raises:
        ValueError: if the input has no closed form.
    """
    model = observation.model
    table = model.input_table(place)
    if table is None:
        raise ValueError(f"place {place.name} has no closed form: its input mixes positions; choose a first layer's")
    reference = None
    if differences:
        first = model.vocabulary.prefix[0] if model.vocabulary.prefix else 0
        reference = table.rows(torch.tensor(first), torch.tensor(0))
    return vocabulary_distances(table, space, positions, reference=reference)


def read_sentence(observation: Observation, place: Place, rehearsed: Rehearsal) -> Iterator[Reconstruction]:
    """Yield the one sentence whose every token lies in the first layer's span at its position.

    Args:
        observation: what was seen.
        place: a visible weight of the first layer.
        rehearsed: what its gradient carries.
    """
    knowledge, vocabulary = observation.knowledge, observation.model.vocabulary
    space = visible_space(observation, place)
    if space.rank == 0:
        note = "the gradient is zero, or no larger than its noise"
        yield unseen(observation, note)
        return
    known = len(vocabulary.prefix) + len(vocabulary.suffix)
    length = min(max(space.rank + rehearsed.missing, known), observation.model.max_length)
    length = knowledge.lengths[0] if knowledge.lengths else length
    distances = position_distances(observation, place, space, length, differences=rehearsed.differences)
    allowed = allowed_tokens(observation)
    tokens = allowed[distances[allowed].argmin(0)]
    prefix, suffix = len(vocabulary.prefix), len(vocabulary.suffix)
    tokens[:prefix] = torch.tensor(vocabulary.prefix, dtype=torch.long)
    tokens[length - suffix :] = torch.tensor(vocabulary.suffix, dtype=torch.long)
    inner = tokens[prefix : length - suffix]
    own = distances[inner, torch.arange(prefix, length - suffix)]
    limit = between(rehearsed.inside, distances[allowed][:, prefix : length - suffix].flatten()[::97], len(allowed))
    count = (distances[allowed][:, prefix : length - suffix] < limit).sum().item()
    yield Reconstruction(
        tokens=(tuple(tokens.tolist()),),
        loss=float(own.mean()) if len(own) else 0.0,
        confidence=(tuple((own < limit).double().tolist()),),
        note=f"{int(count)} of {len(allowed) * len(inner)} tokens x positions lie in the span",
        done=True,
    )
