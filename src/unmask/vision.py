"""Images: what everyone knows about a vision transformer, and what one party keeps private."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from unmask.site import Site


@runtime_checkable
class VisionModel(Protocol):
    """A vision transformer as an adversary holds it.

    Shapes: C images of (channels, height, width) with pixels in [0, 1], n tokens, width d.
    """

    @property
    def name(self) -> str:
        """How reports call the model."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def layers(self) -> int:
        """Number of transformer layers."""

    @property
    def heads(self) -> int:
        """Number of attention heads of a layer."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every whole signal that can be seen, layer by layer."""

    @property
    def examples(self) -> "Images | None":
        """Public pictures of the kind that the model was trained on, in its shape, or None if there are none."""

    def activations(self, images: Tensor, sites: Sequence[Site]) -> dict[str, Tensor]:
        """Return what stands at each site, by its name: (C, n, d), or (C, H, n, n) for probabilities.

        Gradients flow to the images.
        """

    def embed(self, images: Tensor) -> Tensor:
        """Return the tokens (C, n, d) that enter the first layer: an affine function of the pixels."""

    def activations_from_tokens(self, tokens: Tensor, sites: Sequence[Site]) -> dict[str, Tensor]:
        """Return what stands at each site for tokens (C, n, d) in place of `embed`'s; gradients flow to them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """The private images of one batch.

    Args:
        pixels: (B, channels, height, width) in [0, 1].
        labels: (B,) class indices, or None.
    """

    pixels: Tensor
    labels: Tensor | None = field(default=None)

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.pixels)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageVictim:
    """One party whose images pass through a model that everyone knows.

    Args:
        model: what everyone knows.
        secret: the private images, or None where only their trace is known.
    """

    model: VisionModel
    secret: Images | None
