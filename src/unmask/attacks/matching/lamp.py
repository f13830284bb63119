"""LAMP with a gradient selector: the published attack on partial transformer gradients."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.matching.continuous import Descent, Matching, positive
from unmask.attacks.matching.distances import Distance
from unmask.attacks.matching.matching import match
from unmask.attacks.matching.moves import proposals
from unmask.attacks.matching.prior import Prior, VictimPrior
from unmask.observation import Observation

PUBLISHED = Descent(
    distance=Distance.COSINE,
    steps=2000,
    learning_rate=0.01,
    decay=0.89,
    decay_every=50,
    candidates=500,
    shuffles=500,
    norm_weight=1.0,
)


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """Cosine gradient matching with a norm regulariser and discrete moves.

    Continuous: `mean_k (1 - cos(g_k, g_k(x))) + norm_weight (mean_i ||x_i|| - c)^2` by Adam, where
    c is the mean embedding norm of the public table. Discrete: at the start of every phase each
    sentence is reordered by the best of `swaps` proposals, scored by gradient distance plus
    `prior_weight` times the prior. The published prior is a language model trained with the
    victim's tokenizer; where none is given a causal victim serves as its own and an encoder has
    none, and the note of every guess says which. The loss of a guess is the gradient distance of
    its embeddings before they are decoded.

    Args:
        name: registered name.
        source: publication.
        descent: settings of the continuous loop (for LAMP L1+L2: `Distance.L2_L1` with l1 0.01).
        swap_after: share of the steps before the first discrete phase.
        swap_every: steps between two discrete phases.
        swaps: proposals per sentence and phase.
        prior_weight: weight of the prior.
        prior: language model with the victim's tokenizer, or None.

    Raises:
        BadInput: if a setting is out of range.
    """

    name: str = "lamp"
    source: str = "Li, Xu, Dras, EMNLP 2024, arXiv 2406.00999; Balunovic et al., NeurIPS 2022, arXiv 2202.08827"
    descent: Descent = PUBLISHED
    swap_after: float = 0.1
    swap_every: int = 75
    swaps: int = 200
    prior_weight: float = 0.2
    prior: Prior | None = None

    def __post_init__(self) -> None:
        for argument in ("swap_every", "swaps"):
            positive(argument, getattr(self, argument))

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the start, a guess after every discrete phase, and the best at the end."""
        prior = self.prior
        if prior is None and observation.model.classes is None:
            prior = VictimPrior(model=observation.model)

        def reorder(matching: Matching, x: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
            return self._reorder(matching, x, losses, prior, generator)

        def due(step: int) -> bool:
            return step > self.swap_after * self.descent.steps and step % self.swap_every == 0

        remark = f"; language prior: {'none for this tokenizer' if prior is None else prior.name}"
        matching = Matching.of(observation, self.descent)
        yield from match(matching, generator, due=due, discrete=reorder, remark=remark)

    def _reorder(
        self, matching: Matching, x: Tensor, losses: Tensor, prior: Prior | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Reorder one sentence after the other, in all runs at once; a tie keeps the order."""
        runs, x = x.shape[0], x.clone()
        for sentence, free in enumerate(matching.layout.free):
            if int(free.sum()) < 2:
                continue
            orders = proposals(free, self.swaps, generator)
            orders = torch.cat([torch.arange(len(free))[None], orders])
            pool = x[:, None].repeat(1, len(orders), 1, 1, 1)
            pool[:, :, sentence] = x[:, sentence][:, orders]
            own = torch.arange(runs).repeat_interleave(len(orders))
            found = matching.losses(pool.flatten(0, 1), own).unflatten(0, (runs, len(orders)))
            scores = found
            if prior is not None and self.prior_weight:
                scores = found + self.prior_weight * self._likely(matching, x, sentence, orders, prior)
            pick = scores.argmin(1)
            x = pool[torch.arange(runs), pick]
            losses = found[torch.arange(runs), pick]
        return x, losses

    @staticmethod
    def _likely(matching: Matching, x: Tensor, sentence: int, orders: Tensor, prior: Prior) -> Tensor:
        ids = matching.decode(x)[:, sentence][:, orders]
        length = matching.layout.lengths[sentence]
        return prior(ids.flatten(0, 1)[:, :length]).unflatten(0, ids.shape[:2])
