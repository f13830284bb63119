"""The published way to invert activations: gradient descent on embeddings, then the nearest tokens."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from unmask.attack import Reconstruction
from unmask.attacks.activations.activation_target import Target
from unmask.attacks.activations.embedding_descent import Codebook, EmbeddingDescent
from unmask.errors import BadInput
from unmask.observation import Activations
from unmask.public import PublicModel

EVERY = 50
"""Steps between two guesses."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingMatch:
    """Minimise the distance of the activations by Adam on free embeddings and decode each to its nearest token.

    Args:
        name: registered name.
        source: publication.
        steps: number of steps.
        learning_rate: step size of Adam.

    Raises:
        BadInput: if a setting is out of its range.

    Source:
        Song and Raghunathan 2020, white-box inversion of embeddings by continuous relaxation; the loss is
        that of Deng et al. 2023 for the site that is seen.
    """

    name: str = field(default="embedding-match")
    source: str = field(default="Song and Raghunathan, CCS 2020")
    steps: int = field(default=1000)
    learning_rate: float = field(default=0.05)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput("setting steps", self.steps, "is below 1", "give at least 1")
        if not 0 < self.learning_rate < float("inf"):
            raise BadInput("setting learning_rate", self.learning_rate, "is no positive step size", "give 0.05")

    def run(self, observation: Activations[PublicModel], generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the decoded embeddings every 50 steps.

        Args:
            observation: what was seen; its rows are taken for those of the first positions in their order.
            generator: source of the first embeddings.
        """
        target = Target.of(observation)
        table = target.model.embedding().detach()
        codebook = Codebook.of(table, target.allowed)
        descent = EmbeddingDescent(target=target, codebook=codebook)
        size = float(table[target.allowed].std())
        where = target.free.nonzero()[:, 0]
        moving = (size * torch.randn(len(where), table.shape[1], generator=generator)).requires_grad_(True)
        adam = torch.optim.Adam([moving], lr=self.learning_rate * size)
        fixed = table[target.ids]
        for step in range(1, self.steps + 1):
            loss = descent.loss(fixed.index_copy(0, where, moving))
            (moving.grad,) = torch.autograd.grad(loss, [moving])
            adam.step()
            if step % EVERY and step < self.steps:
                continue
            ids = target.ids.clone()
            ids[where] = target.allowed[torch.cdist(moving.detach(), table[target.allowed]).argmin(1)]
            residual = float(target.residuals(ids[None])[0])
            yield Reconstruction(
                tokens=(tuple(ids.tolist()),),
                loss=float(loss.detach()),
                residual=residual,
                note=f"{step} steps",
                done=step == self.steps,
            )
