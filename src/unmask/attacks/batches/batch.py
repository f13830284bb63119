"""Recover the sentences of a batch: words from a first layer's span, proofs from a later one's."""

from collections.abc import Iterator

import torch

from unmask.attack import Reconstruction
from unmask.attacks.batches.remainder import Remainder
from unmask.attacks.batches.search import BatchSearch
from unmask.attacks.batches.words import read_words
from unmask.attacks.layout import allowed_tokens
from unmask.attacks.rehearsal import rehearse
from unmask.observation import Observation
from unmask.public import Component, Place
from unmask.rng import generator as named


def read_batch(
    observation: Observation, places: list[Place], generator: torch.Generator, *, seed: int
) -> Iterator[Reconstruction]:
    """Yield the sentences of a batch: words from a first layer's span, proofs from a later one's.

    Args:
        observation: what was seen.
        places: visible weights of the layers.
        generator: source of the random starts.
        seed: seed of the rehearsals.
    """
    model = observation.model
    tables = [place for place in places if model.input_table(place) is not None]
    later = [place for place in places if place not in tables]
    if not tables:
        yield Reconstruction(
            tokens=(), loss=float("inf"), note="a batch needs a first-layer query, key or value", done=True
        )
        return
    allowed = allowed_tokens(observation)
    rehearsals = {p.name: rehearse(model, p, allowed, named(seed, "rehearsal", p.name)) for p in places}
    tables.sort(key=lambda p: (rehearsals[p.name].differences, p.component is not Component.QUERY))
    first = tables[0]
    whole = Remainder.of(observation, [first])
    words = read_words(whole, first, rehearsals[first.name], ())
    lengths = observation.knowledge.lengths or words.ends
    if not later or not lengths:
        why = "a second layer would tell their order" if not later else "no sentence's end lies in the first span"
        yield Reconstruction(
            tokens=(), bag=words.bag(model.vocabulary.special), loss=1.0, note=f"words only: {why}", done=True
        )
        return
    place = min(later, key=lambda p: (rehearsals[p.name].differences, p.layer or 0))
    search = BatchSearch(
        observation=observation,
        first=first,
        later=place,
        rehearsals=rehearsals,
        generator=generator,
    )
    yield from search.run()
