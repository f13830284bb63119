"""Soft span matching: for gradients that noise, bfloat16 or lost rank keep from an exact search."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.layout import Layout, allowed_tokens, labellings, layout, noise_deviation
from unmask.attacks.matching.continuous import positive
from unmask.attacks.matching.polish import Polish
from unmask.attacks.matching.shortlist import token_scores
from unmask.attacks.replay import Replay
from unmask.attacks.spans import Spans
from unmask.attacks.unseen import unseen
from unmask.observation import Observation
from unmask.subspace import ROUNDING


@dataclass(frozen=True, kw_only=True)
class SoftSpan:
    """Match the soft row spaces of the visible gradients, decode, and polish by replays.

    1. Rank the vocabulary for every position (closed form in the first layer, whitened probes
       above it). 2. Where the input mixes positions, descend on distributions over the likeliest
       `shortlist` tokens, many restarts at once, on
       `mean_i (1 - ||P^{1/2} h_i||^2 / ||h_i||^2) + beta * unexplained`, where the second term keeps
       all positions from collapsing onto one. 3. Decode the best restarts and improve each by
       substitutions and moves until the cosine distance of the replayed gradient falls to what
       noise and rounding explain, or nothing helps. After TIGER (arXiv 2606.18312); the shrinkage of
       the projector, the probes and the last stage are this project's.

    The loss of a guess is the cosine distance of its replayed gradient from the one seen.

    Args:
        name: registered name.
        source: publication.
        shortlist: tokens per position in the descent.
        restarts: distributions optimised side by side.
        steps: steps of Adam on the distributions.
        learning_rate: of Adam.
        beta: weight of the share of the basis that is not explained.
        polished: decoded restarts that are polished, best first.
        rounds: most rounds of polishing per restart.
        patience: rounds without improvement before the next restart.
        kept: substitutes per position, source and round.
        moves: reorderings per sentence and round.

    Raises:
        BadInput: if a setting is out of range.
    """

    name: str = "soft-span"
    source: str = "this project, after TIGER, arXiv 2606.18312"
    shortlist: int = 200
    restarts: int = 6
    steps: int = 150
    learning_rate: float = 0.3
    beta: float = 1.0
    polished: int = 3
    rounds: int = 20
    patience: int = 3
    kept: int = 12
    moves: int = 40

    def __post_init__(self) -> None:
        for argument in ("shortlist", "restarts", "learning_rate", "polished", "rounds", "patience", "kept", "moves"):
            positive(argument, getattr(self, argument))

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the decoded start, then a guess after every round of polishing."""
        spans, known = Spans.of(observation), layout(observation)
        if not spans.places:
            note = "no visible weight gradient of a layer rises above the noise"
            yield unseen(observation, note)
            return
        scores = token_scores(observation, known, spans, generator)
        starts = self._starts(observation, known, spans, scores, generator)
        labels = labellings(observation, len(known.ids))
        table = observation.model.embedding()
        replay = Replay.of(observation, known.mask)
        floor = explained_by_noise(observation, replay)
        best: Reconstruction | None = None
        hypotheses: list[Tensor | None] = [None] if labels is None else list(labels)
        problems = [
            Polish(
                replay=replay, layout=known, scores=scores, table=table, labels=own, kept=self.kept, moves=self.moves
            )
            for own in hypotheses
        ]
        ranked = sorted(
            ((float(p.losses(start[None])[0]), i, j) for i, start in enumerate(starts) for j, p in enumerate(problems))
        )
        for loss, start, problem in ranked[: self.polished]:
            for guess in self._polished(problems[problem], starts[start], loss, floor, generator):
                if best is None or guess.loss < best.loss:
                    best = guess
                    yield guess
            if best is not None and best.loss <= floor:
                break
        if best is not None:
            yield Reconstruction(tokens=best.tokens, loss=best.loss, residual=best.residual, note=best.note, done=True)

    def _starts(
        self, observation: Observation, known: Layout, spans: Spans, scores: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return decoded starts (R, B, n)."""
        closed = all(observation.model.input_table(place) is not None for place in spans.places)
        shown = max(space.rank for space in spans.subspaces.values()) >= sum(known.lengths) - 1
        # A batch has one token per sentence at each position.
        likely = scores.topk(len(known.ids), dim=1, largest=False).indices.T
        plain = torch.where(known.free, likely, known.ids)[None]
        if closed and shown:
            return plain
        descended = self._descend(observation, known, spans, scores, generator)
        return torch.cat([plain, descended]) if closed else descended

    def _descend(
        self, observation: Observation, known: Layout, spans: Spans, scores: Tensor, generator: torch.Generator
    ) -> Tensor:
        table, count = observation.model.embedding(), min(self.shortlist, len(allowed_tokens(observation)))
        tokens = scores.topk(count, dim=1, largest=False).indices  # (n, S)
        choices = table[tokens]
        logits = torch.randn(self.restarts, *known.ids.shape, count, generator=generator).requires_grad_(True)
        adam = torch.optim.Adam([logits], lr=self.learning_rate)
        fixed, free = table[known.ids], known.free[None, :, :, None]
        losses = torch.zeros(self.restarts)
        for step in range(self.steps):
            sharp = 1 + 3 * step / max(1, self.steps)
            x = torch.einsum("rbns,nsd->rbnd", (sharp * logits).softmax(-1), choices)
            x = torch.where(free, x, fixed).flatten(0, 1)
            mask = None if bool(known.mask.all()) else known.mask.repeat(self.restarts, 1)
            inputs = observation.model.inputs_from_embeddings(x, spans.places, mask=mask)
            losses = spans.objective(inputs, known.mask, self.beta)
            (logits.grad,) = torch.autograd.grad(losses.sum(), [logits])
            adam.step()
        picked = logits.detach().argmax(-1)
        ids = torch.gather(tokens[None, None].expand(*picked.shape, -1), 3, picked[..., None])[..., 0]
        return torch.where(known.free, ids, known.ids)

    def _polished(
        self, polish: Polish, ids: Tensor, loss: float, floor: float, generator: torch.Generator
    ) -> Iterator[Reconstruction]:
        idle = 0
        for number in range(self.rounds + 1):
            targets = ids if polish.labels is None else polish.labels
            residual = polish.replay.residual(ids, targets)
            note = f"{number} rounds of polishing" + ("; as close as noise allows" if loss <= floor else "")
            if polish.layout.inferred:
                note += "; lengths inferred from the rank of a gradient"
            yield Reconstruction(tokens=polish.layout.sequences(ids), loss=loss, residual=residual, note=note)
            if loss <= floor or idle >= self.patience or number == self.rounds:
                return
            before = loss
            ids, loss = polish.round(ids, loss, idle, generator)
            idle = idle + 1 if loss == before else 0


def explained_by_noise(observation: Observation, replay: Replay) -> float:
    """Return the cosine distance that the true input has on average, because of noise and rounding.

    A tensor of energy E, of which `f = N sigma^2 / E` is noise, has cosine `sqrt(1 - f)` with the
    clean one; 3 deviations of that, about `f sqrt((2 + f) / N)`, are added, rounding counts twice, and
    float32 arithmetic costs 1e-5. Falling below this proves nothing: under heavy noise wrong
    tokens can do so too.
    """
    sigma = noise_deviation(observation)
    spacing = ROUNDING.get(observation.knowledge.dtype, 0.0)
    parts = []
    for tensor in replay.seen.values():
        energy = max(float(tensor.double().square().sum()), 1e-300)
        noise = min(1.0, tensor.numel() * sigma**2 / energy)
        lost = min(1.0, noise + spacing**2 / 12)
        parts.append(1 - (1 - lost) ** 0.5 + 3 * noise * ((2 + noise) / tensor.numel()) ** 0.5)
    return sum(parts) / max(1, len(parts)) + 1e-5
