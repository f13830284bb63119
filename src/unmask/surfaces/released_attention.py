"""One head's attention matrix as the published private mechanism releases it."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.observation import Activations
from unmask.privacy.mechanisms.attention_release import AttentionRelease
from unmask.public import Component, PublicModel
from unmask.site import Signal, Site
from unmask.surfaces.activation import ActivationSurface, show
from unmask.surfaces.behind import Behind
from unmask.surfaces.first_layer import head_rows
from unmask.surfaces.private import one_text, seeded
from unmask.surfaces.site_selector import select_sites
from unmask.victim import Victim

AGREE = 1e-3
"""How far the attention of a model may be from the soft-max of its queries and keys."""


@dataclass(frozen=True, kw_only=True)
class ReleasedAttentionSurface(Behind):
    """One head's attention of a first layer, released by Gaussian draws whose covariance is private.

    With queries and keys `y = (q; k) / d_h^(1/4)` as 2n rows, the published mechanism releases an estimate of
    `y y^T`, of which the block `q k^T / sqrt(d_h)` is the matrix of scores; its soft-max is what is seen. One token
    is two rows, each of which may move by the radius: (epsilon/2, delta / (1 + e^(epsilon/2))) for one row is
    (epsilon, delta) for two, by group privacy.

    Args:
        base: which site is seen: one head's probabilities.
        epsilon: for one token.
        delta: for one token.
        radius: beta, public.
        draws: k, number of Gaussian draws.

    Raises:
        BadInput: if a value is out of range, or rows are missing or permuted.
    """

    name: ClassVar[str] = "released-attention"
    base: ActivationSurface = field(default=ActivationSurface())
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    radius: float = field(default=1.0)
    draws: int = field(default=1024)

    def __post_init__(self) -> None:
        _ = self.mechanism  # checks the numbers

    @property
    def mechanism(self) -> AttentionRelease:
        """The published release, calibrated for one row."""
        half = self.epsilon / 2
        delta = self.delta / (1 + math.exp(min(half, 700.0)))
        return AttentionRelease.calibrated(epsilon=half, delta=delta, radius=self.radius, draws=self.draws)

    def observe(self, victim: Victim, generator: torch.Generator) -> Activations[PublicModel]:
        """Return the released attention (n, n) of one head, by site name.

        Args:
            victim: whose text is read.
            generator: randomness of the draws, which are therefore void, and of the base surface.

        Raises:
            BadInput: if the selection is not one head's probabilities in a layer whose rows are functions of their
                own token, the attention is no soft-max of queries and keys, or as the base surface.
            NoSignal: if every entry is zero.
        """
        secret, model = one_text(victim), victim.model
        (site, *more) = select_sites(model.sites, model.heads, self.select)
        if more or site.signal is not Signal.PROBABILITIES or site.head is None:
            rule = "is not the probabilities of one head, the one matrix that dp-attention releases"
            raise BadInput("--select", self.select, rule, "add --select 0.probabilities.0")
        ids = secret.ids[0, : secret.lengths[0]]
        rows = _scored_rows(model, ids, site)
        length = len(ids)
        released = self.mechanism.release(rows.double().numpy(), seeded(generator)).value
        scores = torch.from_numpy(released[:length, length:]).float()
        tensor = _softmax(scores, causal=model.causal)
        seen = show(self.base, {site.name: tensor}, (site,), model, generator)
        said = (
            f"The matrix of scores is the published release: the covariance of {self.draws} Gaussian draws, with a "
            f"public ridge of {self.mechanism.eta:.4g}."
        )
        return replace(seen, knowledge=replace(seen.knowledge, mechanism=said, spread={site.name: 1.0}))


def _scored_rows(model: PublicModel, ids: Tensor, site: Site) -> Tensor:
    """Return queries, then keys of one head (2n, d_h), over `d_h^(1/4)`, whose products are its scores.

    Raises:
        BadInput: if one token moves several rows, or the products are not the scores of the model.
    """
    q, k = (
        head_rows(model, ids, site, component, defence="dp-attention") for component in (Component.QUERY, Component.KEY)
    )
    q, k = q / q.shape[1] ** 0.25, k / q.shape[1] ** 0.25
    own = model.activations(ids[None], (site,))[site.name][0]
    if float((_softmax(q @ k.T, causal=model.causal) - own).abs().max()) > AGREE:
        rule = "is no soft-max of q k / sqrt(d): the model turns or shifts its queries and keys"
        raise BadInput("--select", site.name, rule, "protect it with token-noise instead")
    return torch.cat([q, k])


def _softmax(scores: Tensor, *, causal: bool) -> Tensor:
    if causal:
        later = torch.ones(scores.shape, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    return scores.softmax(-1)
