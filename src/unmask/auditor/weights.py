"""A trained network and its training images as the subject of an audit."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.auditor.images import png, share_an_image, sizes, smooth
from unmask.auditor.plan import Plan, Role, SeenCell
from unmask.auditor.subject import Verdict
from unmask.metrics import images
from unmask.record import Cell
from unmask.surfaces.published_weights import PublishedWeights
from unmask.vision import Images
from unmask.weights import PublicMLP, WeightsVictim

CELLS = ("weights", "shuffled weights")
"""What is shown, and its control."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightsSubject:
    """Implements `unmask.auditor.subject.Subject` for the training images of a network.

    Args:
        title: how reports call the network.
        model: its architecture.
        start: weights before training.
        final: weights after it.
    """

    title: str
    model: PublicMLP
    start: Mapping[str, Tensor]
    final: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        """How reports call the network."""
        return self.title

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(tensor.numel() for tensor in self.final.values())

    def weights(self) -> Mapping[str, Tensor]:
        """Return every parameter before and after training."""
        return {
            f"{when}.{k}": v for when, each in (("start", self.start), ("final", self.final)) for k, v in each.items()
        }

    def victim(self, secret: Images | None) -> WeightsVictim:
        """Return the party that trained on these images, or on unknown ones."""
        return WeightsVictim(model=self.model, start=self.start, final=self.final, secret=secret)

    def content(self, secret: Images) -> str:
        """Return a digest of the pixels."""
        return hashlib.sha256(secret.pixels.numpy().tobytes()).hexdigest()

    def item(self, secret: Images | None, guess: Reconstruction | None) -> dict[str, int]:
        """Return the number of images and of pixels of one, or of the guess where the images are not known."""
        return sizes(secret, guess)

    def alike(self, secret: Images, other: Images) -> bool:
        """Whether two sets share an image, pixel by pixel."""
        return share_an_image(secret, other)

    def decoy(self, guess: Reconstruction, draw: torch.Generator) -> Images:
        """Return random smooth images, as many as were guessed."""
        return Images(pixels=smooth(1 if guess.images is None else len(guess.images), self.model.shape, draw))

    def judge(
        self, secret: Images | None, guess: Reconstruction | None, *, others: Sequence[Images], show: bool
    ) -> Verdict:
        """Score a guess against the training images, against others, and their absence by a grey guess.

        Args:
            secret: the training images, or None if they are not known.
            guess: what came out.
            others: images that were not in training.
            show: whether pictures are kept.
        """
        found = () if guess is None or guess.images is None else tuple(_arrays(guess.images))
        if secret is None:
            return Verdict(pictures=tuple((b"", png(image) if show else b"") for image in found))
        true = _arrays(secret.pixels)
        # As many guesses as there are images take part: more would have more chances.
        scores, measures, assignment = images.score(true, found[: len(true)])
        null = [images.score(_arrays(other.pixels), found[: len(true)])[0] for other in others]
        trivial, floor, _ = images.score(true, [np.full_like(true[0], 0.5)] * len(true))
        matched = [None if j is None else found[j] for j in assignment]
        return Verdict(
            scores=scores,
            null={key: fmean(row[key] for row in null) for key in scores} if null else {},
            trivial=trivial,
            measures={**measures, "trivial_psnr_db": floor["psnr_db"]},
            pictures=tuple(
                (png(image) if show else b"", b"" if other is None or not show else png(other))
                for image, other in zip(true, matched, strict=True)
            ),
        )


def weights_cells(subject: WeightsSubject, surface: PublishedWeights) -> tuple[SeenCell, ...]:
    """Return two cells: the weights, and as a control the same change dealt to other neurons.

    Args:
        subject: the network.
        surface: what is seen.
    """
    return tuple(
        SeenCell(
            cell=Cell(layer=None, component=name, parameters=subject.parameters, share=1.0),
            surface=PublishedWeights(shuffled=at > 0, knows_count=surface.knows_count, release=surface.release),
        )
        for at, name in enumerate(CELLS)
    )


def weights_plan(
    subject: WeightsSubject,
    cells: Sequence[SeenCell],
    roles: Sequence[Role],
    *,
    secret: Images | None,
    outside: Images | None,
    seed: int = 0,
    run_seconds: float = 120.0,
    budget: float | None = None,
    show_private: bool = False,
    fail_on: float | None = None,
    command: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of an audit of published weights: the training set is the one item.

    Args:
        subject: the network.
        cells: see `weights_cells`.
        roles: the attacks.
        secret: the training images, or None if they are not known.
        outside: images of the same source that were not in training, for the null control.
        seed: the run's seed.
        run_seconds: time limit of one attack.
        budget: time limit of the whole audit in seconds, or None.
        show_private: whether pictures are stored and shown.
        fail_on: highest SSIM that passes, or None.
        command: the command line.
    """
    return Plan(
        subject=subject,
        cells=tuple(cells),
        items=(secret,),
        roles=tuple(roles),
        controls=() if outside is None else (outside,),
        seed=seed,
        run_seconds=run_seconds,
        budget=budget,
        show_private=show_private,
        fail_on=fail_on,
        command=command,
    )


def _arrays(pixels: Tensor) -> list[Any]:
    return list(pixels.detach().double().numpy())
