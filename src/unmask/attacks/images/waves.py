"""Images as sums of cosine waves, coarse ones large and fine ones small, as in natural images."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

GREY = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Waves:
    """Coordinates of images in which every natural image is about equally far from grey.

    `image = 1/2 + C_h^T (w * s) C_w` with orthonormal cosine transforms C and `s_f ~ 1 / sqrt(1 + |f|^2)`, the
    amplitude spectrum of natural images, scaled so that normal w give pixels with the deviation below.
    Ridge on w is therefore a prior that knows nothing of the data but that it is pictures, and a
    small step in w is a smooth one.

    Args:
        shape: channels, height and width.
        deviation: of the pixels if w is standard normal.

    Source: Field, "Relations between the statistics of natural images", 1987, for the spectrum.
    """

    shape: tuple[int, int, int]
    deviation: float = field(default=0.3)
    _tables: dict[torch.dtype, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def image(self, w: Tensor) -> Tensor:
        """Return images (C, channels, height, width) of coordinates of the same shape."""
        rows, columns, scale = self._of(w.dtype)
        return GREY + rows.T @ (w * scale) @ columns

    def coordinates(self, image: Tensor) -> Tensor:
        """Return the coordinates of images: the inverse of `image`."""
        rows, columns, scale = self._of(image.dtype)
        return (rows @ (image - GREY) @ columns.T) / scale

    def _of(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        if dtype not in self._tables:
            _, height, width = self.shape
            down, across = torch.arange(height).double() / height, torch.arange(width).double() / width
            # In waves per image of the mean side, so that a long image is no smoother across than down.
            power = (down[:, None] ** 2 + across[None] ** 2) * height * width
            scale = (1 + power).rsqrt()
            scale = scale * self.deviation / scale.square().mean().sqrt()
            self._tables[dtype] = (cosines(height).to(dtype), cosines(width).to(dtype), scale.to(dtype))
        return self._tables[dtype]


def cosines(size: int) -> Tensor:
    """Return the orthonormal cosine transform (size, size), one wave per row, in float64.

    Args:
        size: number of points.

    Example:
        >>> bool(torch.allclose(cosines(4) @ cosines(4).T, torch.eye(4, dtype=torch.float64)))
        True
    """
    order = torch.arange(size).double()
    table = torch.cos(math.pi * order[:, None] * (order[None] + 0.5) / size) * math.sqrt(2 / size)
    table[0] /= math.sqrt(2)
    return table
