"""Fit continuous embeddings to activations: as many equations as unknowns, solved by a quasi-Newton method."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.activations.activation_target import Target

DRAWS = 12
"""Draws from which the pull that chance would have at a token is estimated."""
MEMORY = 50
"""Pairs of steps from which L-BFGS estimates curvature."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codebook:
    """The allowed tokens' embeddings in coordinates in which they are spread alike in all directions.

    `e = mean + M u` with `M M^T` the covariance of the table: a token drawn at random has a u of mean zero and
    unit covariance, so a descent that begins at zero moves first where tokens differ most.

    Args:
        allowed: (A,) ids.
        mean: (d,) of their embeddings.
        spread: (d, d) the map M.
        unit: (A, d) directions of the embeddings from their mean.
        table: (V, d) embeddings of all tokens.
    """

    allowed: Tensor
    mean: Tensor
    spread: Tensor
    unit: Tensor
    table: Tensor

    @classmethod
    def of(cls, table: Tensor, allowed: Tensor) -> "Codebook":
        """Measure the table.

        Args:
            table: (V, d) token embeddings.
            allowed: ids that may occur.
        """
        own = table[allowed]
        mean = own.mean(0)
        apart = own - mean
        values, vectors = torch.linalg.eigh((apart.T @ apart / len(own)).double())
        floor = 1e-6 * float(values.max())
        spread = (vectors * values.clamp_min(floor).sqrt()).to(table.dtype)
        return cls(allowed=allowed, mean=mean, spread=spread, unit=F.normalize(apart, dim=1), table=table)

    def embeddings(self, coordinates: Tensor) -> Tensor:
        """Return mean + M u (..., d)."""
        return self.mean + coordinates @ self.spread.T

    def nearest(self, coordinates: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return cosines and ids (n, count) of the tokens in whose direction the coordinates (n, d) point.

        The direction counts and not the length: directions that what was seen says little about stay near
        zero, so that a fit falls short of its token but points at it.
        """
        found = (F.normalize(coordinates @ self.spread.T, dim=1) @ self.unit.T).topk(count, dim=1)
        return found.values, self.allowed[found.indices]


@dataclass(kw_only=True, eq=False)
class EmbeddingDescent:
    """Minimise `mean_i ||a_i(X) - seen_i||^2 / ||seen_i||^2` over the embeddings of unknown tokens, by L-BFGS.

    Rows weigh alike: those of special tokens are often several times longer than the others.

    Args:
        target: what was seen.
        codebook: coordinates of the embeddings.
    """

    target: Target
    codebook: Codebook
    passes: int = field(default=0, init=False)
    """Forward and backward passes through the model."""

    def loss(self, embeddings: Tensor) -> Tensor:
        """Return the loss of embeddings (n, d), differentiable; rows of probabilities are those of each head.

        Args:
            embeddings: of all tokens.
        """
        return torch.stack([part.square().sum(-1).mean() for part in self.differences(embeddings)]).mean()

    def differences(self, embeddings: Tensor) -> list[Tensor]:
        """Return, for each site, replay minus seen for embeddings (n, d), each row relative to the row seen."""
        self.passes += 1
        found = self.target.shown(self.target.model.activations_from_embeddings(embeddings[None], self.target.sites))
        parts = []
        for site in self.target.sites:
            seen = self.target.tensors[site.name]
            norms = seen.square().sum(-1, keepdim=True)
            # A row of length zero, as of a pruned head, would weigh infinitely.
            weights = norms.clamp_min(1e-3 * float(norms.mean()) + 1e-30).rsqrt()
            parts.append((found[site.name][0] - seen) * weights)
        return parts

    def pulls(self, embeddings: Tensor, chance: torch.Generator) -> Tensor:
        """Return how far the loss pulls at each token (n,), relative to how far chance would.

        With r all differences, J_i their derivative by token i's coordinates and z standard normal,
        `||J_i^T r|| / sqrt(E ||J_i^T z||^2)`, the mean over a few draws of z. A token that much depends on is pulled
        at by everybody's errors; one that is wrong is pulled at by errors that it can take away.

        Args:
            embeddings: (n, d) of all tokens.
            chance: source of z.
        """
        point = embeddings.detach().requires_grad_(True)
        r = torch.cat([part.flatten() for part in self.differences(point)])

        def pulled(y: Tensor) -> Tensor:
            (pull,) = torch.autograd.grad(r, [point], y, retain_graph=True)
            return (pull @ self.codebook.spread).square().sum(1)

        drawn = torch.stack([pulled(torch.randn(r.shape, generator=chance)) for _ in range(DRAWS)])
        return (pulled(r.detach()) / drawn.mean(0).clamp_min(1e-30)).sqrt()

    def fit(
        self, coordinates: Tensor, ids: Tensor, free: Tensor, steps: int, rounds: int = 1
    ) -> Iterator[tuple[Tensor, float]]:
        """Yield coordinates (n, d) and the loss after every `steps` steps, one descent all along.

        Args:
            coordinates: where to begin; those of known tokens are not used.
            ids: (n,) tokens of the positions that are not free.
            free: (n,) True where the embedding is fitted, somewhere.
            steps: number of steps between two looks.
            rounds: number of looks.
        """
        where = free.nonzero()[:, 0]
        fixed = self.codebook.table[ids]
        moving = coordinates[where].clone().requires_grad_(True)
        search = torch.optim.LBFGS(
            [moving],
            lr=1.0,
            max_iter=steps,
            max_eval=2 * steps,
            history_size=MEMORY,
            tolerance_change=0.0,
            tolerance_grad=0.0,
            line_search_fn="strong_wolfe",
        )
        last = [float("inf")]

        def closure() -> Tensor:
            loss = self.loss(fixed.index_copy(0, where, self.codebook.embeddings(moving)))
            (moving.grad,) = torch.autograd.grad(loss, [moving])
            last[0] = float(loss.detach())
            return loss.detach()

        for _ in range(rounds):
            search.step(closure)
            yield coordinates.index_copy(0, where, moving.detach()), last[0]
