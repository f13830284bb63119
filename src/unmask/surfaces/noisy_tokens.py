"""Activations of a model that reads noisy tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from unmask.observation import Activations
from unmask.privacy.mechanisms.token_noise import TokenNoise
from unmask.privacy.sampling import Randomness
from unmask.public import PublicModel
from unmask.rng import generator as named
from unmask.site import Site
from unmask.surfaces.activation import ActivationSurface, show
from unmask.surfaces.behind import Behind
from unmask.surfaces.private import one_text, seeded
from unmask.surfaces.site_selector import select_sites
from unmask.victim import Victim

DECOYS, SPREAD = 4, 12
"""Public texts, and their tokens, on which it is measured how far the noise moves what is seen."""


@dataclass(frozen=True, kw_only=True)
class NoisyTokenSurface(Behind):
    """What stands at some sites while the model reads noisy tokens: `clip(e_t, B) + N(0, sigma^2 I)` for each.

    The noise is added once, to the rows of the public table of embeddings. Everything the model computes from
    them is post-processing, so that what is seen at all sites together keeps the guarantee.

    Args:
        base: which sites are seen, and what is done to the tensors on top.
        epsilon: of the noise.
        delta: of the noise.
        radius: largest move of a row that is hidden, or None for any token of the public table by any other.

    Raises:
        BadInput: if a value is out of range.
    """

    name: ClassVar[str] = "noisy-tokens"
    base: ActivationSurface = field(default=ActivationSurface())
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    radius: float | None = field(default=None)

    def __post_init__(self) -> None:
        TokenNoise(epsilon=self.epsilon, delta=self.delta, radius=self.radius, norm=1.0)

    def mechanism(self, model: PublicModel) -> TokenNoise:
        """Return the mechanism for a model: without a radius the bound is the longest row of its public table.

        Args:
            model: the public model.
        """
        longest = float(model.embedding().detach().norm(dim=1).max()) * (1 + 1e-6)
        return TokenNoise(epsilon=self.epsilon, delta=self.delta, radius=self.radius, norm=longest)

    def observe(self, victim: Victim, generator: torch.Generator) -> Activations[PublicModel]:
        """Return what stands at the selected sites, by site name.

        Args:
            victim: whose text is read.
            generator: randomness of the noise, which is therefore void, and of the base surface.

        Raises:
            BadInput: as the base surface.
            NoSignal: if every entry is zero.
        """
        secret, model = one_text(victim), victim.model
        chosen = select_sites(model.sites, model.heads, self.select)
        mechanism = self.mechanism(model)
        found = self._computed(model, secret.ids[0, : secret.lengths[0]], chosen, seeded(generator))
        seen = show(self.base, found, chosen, model, generator)
        said = (
            f"Every token's embedding carries Gaussian noise of deviation {mechanism.sigma:.4g}, drawn once; the model "
            "computed what is seen from these noisy tokens."
        )
        knowledge = replace(seen.knowledge, mechanism=said, spread=self._spread(model, chosen))
        return replace(seen, knowledge=knowledge)

    @torch.no_grad()
    def _computed(
        self, model: PublicModel, ids: Tensor, chosen: Sequence[Site], randomness: Randomness
    ) -> dict[str, Tensor]:
        rows = model.embedding().detach()[ids].double().numpy()
        noisy = torch.from_numpy(self.mechanism(model).release(rows, randomness).value).float()
        found = model.activations_from_embeddings(noisy[None], chosen)
        return {name: tensor[0].detach() for name, tensor in found.items()}

    def _spread(self, model: PublicModel, chosen: Sequence[Site]) -> dict[str, float]:
        """Return the squared relative error that the noise brings to each site, on random public texts.

        The adversary knows the mechanism, so it can measure this too.
        """
        draw = named(0, "spread", self.name)
        ordinary = torch.tensor([i for i in range(model.vocabulary.size) if i not in model.vocabulary.special])
        total = dict.fromkeys((site.name for site in chosen), 0.0)
        for index in range(DECOYS):
            ids = ordinary[torch.randint(len(ordinary), (min(SPREAD, model.max_length),), generator=draw)]
            exact = model.activations(ids[None], chosen)
            noisy = self._computed(model, ids, chosen, Randomness(seed=index))
            for name, tensor in noisy.items():
                size = float(exact[name][0].double().square().sum())
                total[name] += float((tensor - exact[name][0]).double().square().sum()) / max(size, 1e-30) / DECOYS
        return total
