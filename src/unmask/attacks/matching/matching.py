"""Gradient matching: optimise embeddings until their gradient is the one seen (DLG, TAG, LAMP)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.matching.continuous import Descent, Matching, positive
from unmask.attacks.matching.distances import Distance
from unmask.observation import Observation

Discrete = Callable[[Matching, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(matching, x (H, B, n, d), distances (H,)) -> reordered x and its distances."""


PUBLISHED = Descent(distance=Distance.L2, steps=2500, learning_rate=0.1)


@dataclass(frozen=True, kw_only=True)
class GradientMatching:
    """Adam on embeddings against the gradient seen, nearest token by cosine at the end.

    DLG (Zhu, Liu, Han, NeurIPS 2019) minimises the squared L2 distance, TAG (Deng et al., EMNLP
    2021) adds `l1` times the L1 distance; both with the settings LAMP ran them with on text. The
    loss of a guess is the gradient distance of its embeddings before they are decoded.

    Args:
        name: registered name.
        source: publication.
        descent: settings of the loop.
        report_every: steps between two guesses.

    Raises:
        BadInput: if a setting is out of range.
    """

    name: str = "dlg"
    source: str = "Zhu, Liu, Han, NeurIPS 2019, arXiv 1906.08935"
    descent: Descent = PUBLISHED
    report_every: int = 75

    def __post_init__(self) -> None:
        positive("report_every", self.report_every)

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the start, a guess every `report_every` steps, and the best at the end."""
        matching = Matching.of(observation, self.descent)
        yield from match(matching, generator, due=lambda step: step % self.report_every == 0)


def dlg() -> GradientMatching:
    """Return DLG: squared L2 distance, Adam at 0.1, 2500 steps, one start."""
    return GradientMatching()


def tag() -> GradientMatching:
    """Return TAG: DLG with 0.01 times the L1 distance added."""
    source = "Deng et al., EMNLP 2021, arXiv 2103.06819"
    descent = replace(PUBLISHED, distance=Distance.L2_L1, l1=0.01)
    return GradientMatching(name="tag", source=source, descent=descent)


def match(
    matching: Matching,
    generator: torch.Generator,
    *,
    due: Callable[[int], bool],
    discrete: Discrete | None = None,
    remark: str = "",
) -> Iterator[Reconstruction]:
    """Run the continuous loop, with a discrete phase at the due steps, and yield the best guess so far.

    Args:
        matching: the problem.
        generator: draws the start.
        due: whether to reorder and yield before this step.
        discrete: reorders the tokens, or None.
        remark: added to the note of every guess.
    """
    if nothing_seen(matching):
        yield Reconstruction(
            tokens=(), loss=float("inf"), note="the gradient seen is zero everywhere", absent=True, done=True
        )
        return
    best = torch.full((matching.runs,), float("inf"))
    kept = torch.empty(0)
    for step, x, losses in matching.descend(matching.start(generator)):
        if discrete is not None and step > 0 and due(step):
            moved, losses = discrete(matching, x, losses)
            x.copy_(moved)
        kept = x.clone() if step == 0 else torch.where((losses < best)[:, None, None, None], x, kept)
        best = torch.minimum(best, losses)
        last = step == matching.settings.steps
        if step == 0 or last or due(step):
            yield _guess(matching, kept, best, note=f"{step} steps{remark}", done=last)


def nothing_seen(matching: Matching) -> bool:
    """Whether no visible tensor holds anything to match."""
    return not any(bool(tensor.any()) for tensor in matching.replay.seen.values())


def _guess(matching: Matching, kept: Tensor, best: Tensor, *, note: str, done: bool) -> Reconstruction:
    run = int(best.argmin())
    ids = matching.decode(kept[run : run + 1])[0]
    targets = ids if matching.labels is None else matching.labels[run]
    if matching.layout.inferred:
        note += "; lengths inferred from the rank of a gradient"
    if matching.runs > 1:
        note += (
            f"; labels {matching.labels[run].tolist()} fit best of {matching.runs} tried"
            if matching.labels is not None
            else ""
        )
    return Reconstruction(
        tokens=matching.layout.sequences(ids),
        loss=float(best[run]),
        residual=matching.replay.residual(ids, targets),
        note=note,
        done=done,
    )
