"""The continuous loop that every gradient-matching attack shares: Adam on embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.layout import Layout, allowed_tokens, labellings, layout
from unmask.attacks.matching.distances import Distance
from unmask.attacks.matching.moves import shuffles
from unmask.attacks.replay import Replay
from unmask.errors import BadInput
from unmask.observation import Observation

SOFT_TARGET = 0.03
"""Temperature of the cosine that turns an embedding into its own soft token where tokens are the targets."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Settings of the continuous loop.

    Args:
        distance: how gradients are compared.
        l1: factor of the L1 term of `Distance.L2_L1`.
        steps: steps of Adam.
        learning_rate: of Adam.
        decay: factor on the learning rate every `decay_every` steps.
        decay_every: see there.
        candidates: Gaussian starts of which the best is kept.
        shuffles: permutations of it of which the best is kept.
        norm_weight: weight of `(mean_i ||x_i|| - c)^2`, with c the mean norm of the public embeddings.

    Raises:
        BadInput: if a setting is out of range.
    """

    distance: Distance
    l1: float = 0.0
    steps: int
    learning_rate: float
    decay: float = 1.0
    decay_every: int = 50
    candidates: int = 1
    shuffles: int = 0
    norm_weight: float = 0.0

    def __post_init__(self) -> None:
        for argument in ("steps", "learning_rate", "decay", "decay_every", "candidates"):
            positive(argument, getattr(self, argument))


def positive(argument: str, value: int | float) -> None:
    """Check a setting.

    Raises:
        BadInput: if the value is not above zero.
    """
    if not value > 0:
        raise BadInput(argument, value, "is not above zero", "give a positive number")


@dataclass(frozen=True, kw_only=True, eq=False)
class Matching:
    """One observation, ready to be matched. All H labellings run side by side.

    Args:
        settings: of the loop.
        layout: lengths and known tokens.
        replay: gradients of candidates.
        table: (V, d) public token embeddings.
        allowed: ids that may occur inside a sentence.
        size: mean norm of the allowed embeddings (1.4 in BERT), which embeddings are pulled to.
        labels: (H, B) labellings to try, None for next-token prediction (then H = 1).
    """

    settings: Descent
    layout: Layout
    replay: Replay
    table: Tensor
    allowed: Tensor
    size: float
    labels: Tensor | None

    @classmethod
    def of(cls, observation: Observation, settings: Descent) -> "Matching":
        """Collect what is public and known."""
        known = layout(observation)
        table, allowed = observation.model.embedding(), allowed_tokens(observation)
        return cls(
            settings=settings,
            layout=known,
            replay=Replay.of(observation, known.mask),
            table=table,
            allowed=allowed,
            size=float(table[allowed].norm(dim=1).mean()),
            labels=labellings(observation, len(known.ids)),
        )

    @property
    def runs(self) -> int:
        """Number of labellings H."""
        return 1 if self.labels is None else len(self.labels)

    def targets(self, x: Tensor, runs: Tensor) -> Tensor:
        """Return the targets of candidates x (C, B, n, d) that belong to the given runs (C,)."""
        if self.labels is not None:
            return self.labels[runs]
        closeness = F.normalize(x, dim=-1) @ F.normalize(self.table, dim=-1).T
        return (closeness / SOFT_TARGET).softmax(-1)

    def losses(self, x: Tensor, runs: Tensor) -> Tensor:
        """Return the gradient distance (C,) of candidates x (C, B, n, d), without a graph."""
        step = self.replay.chunk(x.shape[1] * x.shape[2])
        parts = []
        for start in range(0, len(x), step):
            part, own = x[start : start + step], runs[start : start + step]
            parts.append(self._distance(part, self.targets(part, own), differentiable=False))
        return torch.cat(parts)

    def _distance(self, x: Tensor, targets: Tensor, *, differentiable: bool) -> Tensor:
        kind, l1 = self.settings.distance, self.settings.l1
        return self.replay.distances(x, targets, kind, l1=l1, differentiable=differentiable)

    def fill(self, x: Tensor) -> Tensor:
        """Return x (C, B, n, d) with the known special tokens put back in place."""
        return torch.where(self.layout.free[None, :, :, None], x, self.table[self.layout.ids])

    def start(self, generator: torch.Generator) -> Tensor:
        """Return the first guess (H, B, n, d): the best of many Gaussian draws, then of their shuffles."""
        width = self.table.shape[1]
        shape = (max(1, self.settings.candidates), *self.layout.ids.shape, width)
        drawn = self.fill(self._sized(torch.randn(shape, generator=generator)))
        best = self._best(drawn[None].expand(self.runs, *drawn.shape))
        if not self.settings.shuffles:
            return best
        orders = self._shuffled(self.settings.shuffles, generator)
        index = orders[None, ..., None].expand(self.runs, *orders.shape, width)
        return self._best(torch.gather(best[:, None].expand(-1, len(orders), -1, -1, -1), 3, index))

    def _shuffled(self, count: int, generator: torch.Generator) -> Tensor:
        identity = torch.arange(self.layout.ids.shape[1])
        rows = [
            shuffles(free, count, generator) if bool(free.any()) else identity.repeat(count, 1)
            for free in self.layout.free
        ]
        orders = torch.stack(rows, 1)
        orders[0] = identity
        return orders

    def _sized(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True) * self.size

    def _best(self, pool: Tensor) -> Tensor:
        """Return each run's best of its pool (H, C, B, n, d)."""
        runs, count = pool.shape[:2]
        if count == 1:
            return pool[:, 0].clone()
        losses = self.losses(pool.flatten(0, 1), torch.arange(runs).repeat_interleave(count))
        return pool[torch.arange(runs), losses.unflatten(0, (runs, count)).argmin(1)].clone()

    def penalty(self, x: Tensor) -> Tensor:
        """Return `(mean_i ||x_i|| - size)^2` over the unknown tokens of each candidate: (C,)."""
        free = self.layout.free.to(x.dtype)
        mean = (x.norm(dim=-1) * free).sum((1, 2)) / free.sum().clamp_min(1)
        return (mean - self.size).square()

    def descend(self, x: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield (step, x, gradient distance (H,)) before every step of Adam, and once after the last.

        The caller may write a reordered guess into the tensor that is yielded; Adam goes on from it.
        """
        settings, runs = self.settings, torch.arange(self.runs)
        x = x.detach().clone().requires_grad_(True)
        adam = torch.optim.Adam([x], lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.StepLR(adam, max(1, settings.decay_every), settings.decay)
        for step in range(settings.steps):
            losses = self._distance(x, self.targets(x, runs), differentiable=True)
            whole = losses + settings.norm_weight * self.penalty(x) if settings.norm_weight else losses
            (x.grad,) = torch.autograd.grad(whole.sum(), [x])
            yield step, x.data, losses.detach()
            adam.step()
            schedule.step()
            x.data = self.fill(x.data)
        yield settings.steps, x.data, self.losses(x.data, runs)

    def decode(self, x: Tensor) -> Tensor:
        """Return ids (C, B, n): the nearest allowed token by cosine where the token is unknown."""
        unit = F.normalize(self.table[self.allowed], dim=-1)
        nearest = self.allowed[(F.normalize(x, dim=-1) @ unit.T).argmax(-1)]
        return torch.where(self.layout.free, nearest, self.layout.ids)
