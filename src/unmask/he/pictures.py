"""Cut a picture into the patches that a vision transformer takes, without torch: the client needs none."""

from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmask.errors import BadInput

Array = NDArray[np.float64]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a network wants its pictures: square, pixels in [0, 1], patches row by row.

    Args:
        side: pixels of the picture's side.
        patch: pixels of a patch's side.
        channels: 1 for grey, 3 for red, green and blue.
    """

    side: int
    patch: int
    channels: int

    @classmethod
    def of(cls, tokens: int, features: int, patch: object) -> "Cut | None":
        """Return the cut that gives so many patches of so many numbers, or None if there is none.

        Args:
            tokens: patches of a picture.
            features: numbers of a patch.
            patch: pixels of a patch's side, if the network says so.
        """
        across = isqrt(tokens)
        if not isinstance(patch, int) or patch < 1 or across**2 != tokens:
            return None
        channels, rest = divmod(features, patch**2)
        return cls(side=across * patch, patch=patch, channels=channels) if not rest and channels in {1, 3} else None

    def read(self, path: Path) -> Array:
        """Return the patches (tokens, channels * patch * patch) of a picture, which is resized if need be.

        Raises:
            BadInput: if the file is no picture.
        """
        try:
            with Image.open(path) as opened:
                image = opened.convert("L" if self.channels == 1 else "RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise BadInput("--data", str(path), f"is no picture ({error})", "give a PNG or JPEG file") from error
        if image.size != (self.side, self.side):
            image = image.resize((self.side, self.side), Image.Resampling.BOX)
        pixels = np.asarray(image, dtype=np.float64) / 255
        return self.patches(pixels[None] if self.channels == 1 else np.moveaxis(pixels, -1, 0))

    def patches(self, pixels: Array) -> Array:
        """Return (tokens, channels * patch * patch) of pixels (channels, side, side)."""
        across = self.side // self.patch
        grid = pixels.reshape(self.channels, across, self.patch, across, self.patch)
        return np.ascontiguousarray(grid.transpose(1, 3, 0, 2, 4).reshape(across**2, -1))
