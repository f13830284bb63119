"""What is audited, whatever kind of data it keeps: it makes victims and decoys, and judges guesses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.record import Texts

NO_TEXTS = Texts(secret=(), recovered=(), matches=(), redacted=True)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a guess is worth.

    Args:
        texts: secret beside recovered; empty for images.
        scores: metric name to value in [0, 1].
        null: the same metrics for the guess against secrets that it was not recovered from.
        trivial: the same metrics for a guess that saw the size alone.
        measures: further numbers with their unit in the name, such as `psnr_db`.
        pictures: pairs of PNG files, the secret and what was recovered of it; an absent one is empty.
    """

    texts: Texts = field(default=NO_TEXTS)
    scores: Mapping[str, float] = field(default_factory=dict)
    null: Mapping[str, float] = field(default_factory=dict)
    trivial: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    pictures: tuple[tuple[bytes, bytes], ...] = field(default=())


@runtime_checkable
class Subject(Protocol):
    """A public model with the means to audit it. Secrets are of one kind per subject."""

    @property
    def name(self) -> str:
        """How reports call the model."""

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""

    def weights(self) -> Mapping[str, Tensor]:
        """Return every parameter by name, for the digest that tells runs apart."""

    def victim(self, secret: Any) -> Any:
        """Return the party that holds this secret; None where only a trace of it is known."""

    def content(self, secret: Any) -> str:
        """Return the secret as text, for a digest of which three digits are kept."""

    def item(self, secret: Any, guess: Reconstruction | None) -> dict[str, int]:
        """Return how large a secret is, or the guess where the secret is not known: `size` and more."""

    def alike(self, secret: Any, other: Any) -> bool:
        """Whether two secrets share a sequence or an image, so that neither is a control of the other."""

    def decoy(self, guess: Reconstruction, draw: torch.Generator) -> Any:
        """Return a random public secret of the form of a guess."""

    def judge(self, secret: Any, guess: Reconstruction | None, *, others: Sequence[Any], show: bool) -> Verdict:
        """Score a guess; without a secret only what it says is kept.

        Args:
            secret: the truth, or None if it is not known.
            guess: what came out, or None if nothing did.
            others: secrets of other items, for the null control.
            show: whether private data stays unmasked.
        """
