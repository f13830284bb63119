"""A vision transformer as the subject of an audit."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unmask.attack import Reconstruction
from unmask.auditor.subject import Verdict
from unmask.metrics import images
from unmask.vision import Images, ImageVictim, VisionModel

ENLARGED = 96
"""Pictures smaller than this are enlarged by whole factors, each pixel a square: viewers blur them otherwise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSubject:
    """Implements `unmask.auditor.subject.Subject` for images.

    Args:
        model: the public model.
        tensors: its parameters by name.
        guess: (channels, height, width) image that a guess would be which saw nothing; by default grey.
    """

    model: VisionModel
    tensors: Mapping[str, Tensor]
    guess: Tensor | None = field(default=None)

    @property
    def name(self) -> str:
        """How reports call the model."""
        return self.model.name

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return self.model.parameters

    def weights(self) -> Mapping[str, Tensor]:
        """Return every parameter by name."""
        return self.tensors

    def victim(self, secret: Images | None) -> ImageVictim:
        """Return the party that holds these images; None where only a trace of them is known."""
        return ImageVictim(model=self.model, secret=secret)

    def content(self, secret: Images) -> str:
        """Return a digest of the pixels and labels."""
        labels = None if secret.labels is None else secret.labels.tolist()
        return hashlib.sha256(secret.pixels.numpy().tobytes()).hexdigest() + repr(labels)

    def item(self, secret: Images | None, guess: Reconstruction | None) -> dict[str, int]:
        """Return the number of images and of pixels of one, or of the guess where the secret is not known."""
        return sizes(secret, guess)

    def alike(self, secret: Images, other: Images) -> bool:
        """Whether two secrets share an image, pixel by pixel."""
        return share_an_image(secret, other)

    def decoy(self, guess: Reconstruction, draw: torch.Generator) -> Images:
        """Return random smooth images, as many as were guessed."""
        count = 1 if guess.images is None else len(guess.images)
        classes = torch.randint(self.model.classes, (count,), generator=draw)
        return Images(pixels=smooth(count, self.model.shape, draw), labels=classes)

    def judge(
        self, secret: Images | None, guess: Reconstruction | None, *, others: Sequence[Images], show: bool
    ) -> Verdict:
        """Score a guess against the secret, against other secrets, and a grey guess against the secret.

        Pictures are kept only where `show` says so: a small picture cannot be masked and still be one.
        """
        found = () if guess is None or guess.images is None else tuple(_arrays(guess.images))
        if secret is None:
            pairs = tuple((b"", png(image) if show else b"") for image in found)
            return Verdict(pictures=pairs)
        true = _arrays(secret.pixels)
        scores, measures, assignment = images.score(true, found)
        null = [images.score(_arrays(other.pixels), found)[0] for other in others]
        blind = np.full_like(true[0], 0.5) if self.guess is None else _arrays(self.guess[None])[0]
        trivial, floor, _ = images.score(true, [blind] * len(true))
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


def smooth(count: int, shape: tuple[int, int, int], draw: torch.Generator) -> Tensor:
    """Return random smooth images (count, channels, height, width): coarse noise, scaled up.

    Args:
        count: how many.
        shape: channels, height and width.
        draw: randomness.
    """
    channels, *size = shape
    noise = torch.rand(count, channels, 6, 6, generator=draw)
    return F.interpolate(noise, size, mode="bicubic", align_corners=False).clamp(0, 1)


def png(image: images.Image) -> bytes:
    """Return an image (1 or 3 channels, height, width) as a PNG file, enlarged by a whole factor if it is small.

    Args:
        image: pixels; those beyond [0, 1] are cut off.
    """
    levels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(levels[0] if len(levels) == 1 else levels[:3].transpose(1, 2, 0))
    factor = max(1, ENLARGED // max(picture.size))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _arrays(pixels: Tensor) -> list[Any]:
    return list(pixels.detach().double().numpy())


def sizes(secret: Images | None, guess: Reconstruction | None) -> dict[str, int]:
    """Return the number of images and of pixels of one, or of the guess where the secret is not known."""
    found = None if guess is None else guess.images
    pixels = secret.pixels if secret is not None else found
    if pixels is None:
        return {"size": 1}
    return {"size": len(pixels), "pixels": int(np.prod(pixels.shape[2:]))}


def share_an_image(secret: Images, other: Images) -> bool:
    """Whether two sets share an image, pixel by pixel; images of another size are other images."""
    if secret.pixels.shape[1:] != other.pixels.shape[1:]:
        return False
    return any(bool((image == other.pixels).flatten(1).all(1).any()) for image in secret.pixels)
