"""A private text as a store of records, one a token, that anybody may query: answers of one attention head."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.observation import ActivationKnowledge
from unmask.privacy.checks import at_least_one
from unmask.privacy.mechanisms.noisy_read import Store
from unmask.public import Component, PublicModel
from unmask.rng import generator as named
from unmask.shared import StoreKnowledge, StoreReads
from unmask.site import Signal, Site
from unmask.surface import Release
from unmask.surfaces.first_layer import head_rows
from unmask.surfaces.gradient import check
from unmask.surfaces.private import one_text
from unmask.surfaces.release import norm, perturb
from unmask.surfaces.site_selector import select_sites
from unmask.victim import Victim

ROUNDING = 1e-7
"""Relative rounding of a float32 that was computed in float64 and released once."""


@dataclass(frozen=True, kw_only=True)
class StoreSurface:
    """What one attention head of a first layer answers to public queries over the keys and values of a private text.

    This is a text kept for others to read: a cached prefix, a document in a retrieval store. Each token is a record
    (k, v), a function of itself and its place alone. Query j gets `sum_i softmax_i(q_j k_i / sqrt(d_h)) v_i`. Keys
    are taken before any turn by position.

    Args:
        select: one head's output in a first layer, such as `0.heads.0`.
        queries: Q, how many are asked. They are the head's own queries of random public tokens.
        release: what is done to the answers before they are seen.

    Raises:
        BadInput: if there is no query.
    """

    name: ClassVar[str] = "store"
    select: str = field(default="0.heads.0")
    queries: int = field(default=64)
    release: Release = field(default=Release())

    def __post_init__(self) -> None:
        at_least_one("queries", self.queries)

    def with_release(self, release: Release) -> "StoreSurface":
        """Return the same surface with another release.

        Args:
            release: what is done to the answers before they are seen.
        """
        return replace(self, release=release)

    def observe(self, victim: Victim, generator: torch.Generator) -> StoreReads:
        """Return the answers (Q, w), by the name of the head's output.

        Args:
            victim: whose text is the store.
            generator: randomness of the release.

        Raises:
            BadInput: if the selection is not one head's output of a first layer, or there is not exactly one text.
            NoSignal: if every entry is zero.
        """
        site, store = stored(self, victim)
        asked = public_queries(self, victim.model, site)
        scores = asked @ store.keys.T / asked.shape[1] ** 0.5
        weights = np.exp(scores - scores.max(1, keepdims=True))
        answers = weights / weights.sum(1, keepdims=True) @ store.values
        knowledge = StoreKnowledge(
            length=len(store.keys), queries=torch.from_numpy(asked), scale=asked.shape[1] ** -0.5
        )
        return shown(self, victim.model, site, torch.from_numpy(answers), knowledge, generator)

    def rounding(self, victim: Victim) -> float:
        """Return how far a replay in float64 of a decoy lies from its answers as they are released, in float32.

        Args:
            victim: a victim with a decoy for a secret.

        Raises:
            BadInput: if the decoy leaves no trace.
        """
        seen = replace(self, release=Release()).observe(victim, torch.Generator())
        return ROUNDING if norm(seen.tensors) else 0.0


def stored(surface: StoreSurface, victim: Victim) -> tuple[Site, Store]:
    """Return the site that is read and the private records behind it, in float64.

    Args:
        surface: which head.
        victim: whose text is the store.

    Raises:
        BadInput: if the selection is not one head's output of a first layer, or there is not exactly one text.
    """
    secret, model = one_text(victim), victim.model
    site = chosen(surface, model)
    ids = secret.ids[0, : secret.lengths[0]]
    keys, values = (
        head_rows(model, ids, site, part, defence=surface.name).double().numpy()
        for part in (Component.KEY, Component.VALUE)
    )
    return site, Store(keys=keys, values=values)


def chosen(surface: StoreSurface, model: PublicModel) -> Site:
    """Return the one head's output that a surface selects.

    Args:
        surface: which head.
        model: the public model.

    Raises:
        BadInput: if it is not one head's output.
    """
    site, *more = select_sites(model.sites, model.heads, surface.select)
    if more or site.signal is not Signal.HEADS or (site.head is None and model.heads > 1):
        raise BadInput("--select", surface.select, "is not the output of one head", "add --select 0.heads.0")
    return replace(site, head=site.head or 0)


def public_queries(surface: StoreSurface, model: PublicModel, site: Site) -> np.ndarray:
    """Return the queries (Q, d_h): the head's own, of random public tokens at the first positions in turn.

    Args:
        surface: how many.
        model: the public model.
        site: names layer and head.

    Raises:
        BadInput: as `head_rows`.
    """
    ordinary = torch.tensor([i for i in range(model.vocabulary.size) if i not in model.vocabulary.special])
    draw = named(0, "queries", site.name)
    found: list[Tensor] = []
    while sum(map(len, found)) < surface.queries:
        ids = ordinary[torch.randint(len(ordinary), (min(surface.queries, model.max_length),), generator=draw)]
        found.append(head_rows(model, ids, site, Component.QUERY, defence=surface.name))
    return torch.cat(found)[: surface.queries].double().numpy()


def shown(
    surface: StoreSurface,
    model: PublicModel,
    site: Site,
    rows: Tensor,
    knowledge: StoreKnowledge,
    generator: torch.Generator,
) -> StoreReads:
    """Return rows as they are released, with what is known of that.

    Args:
        surface: says how they are released.
        model: the public model.
        site: the head's output.
        rows: (m, w) exact, or with a mechanism's noise.
        knowledge: of the rows.
        generator: randomness of the release.

    Raises:
        BadInput: if a number is not finite.
        NoSignal: if every entry is zero.
    """
    own = {site.name: rows}
    check(own, argument="store", value=surface.select)
    released = perturb(own, surface.release, generator)
    check(released, argument="released store", value=surface.select)
    how = surface.release
    stated = ActivationKnowledge(
        dtype=how.dtype, noise=how.noise, clip=how.clip, prune=how.prune, length=knowledge.length
    )
    return StoreReads(tensors=released, site=site, model=model, knowledge=replace(knowledge, released=stated))
