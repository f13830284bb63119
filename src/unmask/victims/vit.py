"""A plain vision transformer."""

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from unmask.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class VitShape:
    """The form of a plain vision transformer.

    Args:
        channels: of an image.
        side: height and width of an image in pixels.
        patch: height and width of a patch in pixels.
        width: of a token.
        layers: number of layers.
        heads: number of attention heads.
        hidden: width inside the feed-forward part.
        classes: number of classes.
        mean: of the pixels of each channel, taken off before the first map.
        deviation: of the pixels of each channel, by which they are divided.

    Raises:
        BadInput: if the patches do not tile the image or the heads do not share the width.
    """

    channels: int = field(default=1)
    side: int = field(default=32)
    patch: int = field(default=4)
    width: int = field(default=64)
    layers: int = field(default=6)
    heads: int = field(default=4)
    hidden: int = field(default=128)
    classes: int = field(default=10)
    mean: tuple[float, ...] = field(default=(0.5,))
    deviation: tuple[float, ...] = field(default=(0.5,))

    def __post_init__(self) -> None:
        if self.side % self.patch:
            raise BadInput("patch", self.patch, f"does not tile a side of {self.side}", "choose a divisor")
        if self.width % self.heads:
            raise BadInput("heads", self.heads, f"do not share a width of {self.width}", "choose a divisor")
        if not len(self.mean) == len(self.deviation) == self.channels:
            raise BadInput("mean", self.mean, f"does not fit {self.channels} channels", "give one number a channel")

    @property
    def tokens(self) -> int:
        """Number of tokens, the class token included."""
        return (self.side // self.patch) ** 2 + 1


class Embedding(nn.Module):
    """Images (C, channels, side, side) in [0, 1] to tokens (C, n, d): an affine map of each patch, plus its place."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.size = shape.patch
        self.projection = nn.Linear(shape.channels * shape.patch**2, shape.width)
        self.first = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.place = nn.Parameter(torch.zeros(1, shape.tokens, shape.width))
        self.register_buffer("mean", torch.tensor(shape.mean).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(shape.deviation).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens."""
        images = (images - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)
        tokens = self.projection(patches(images, self.size))
        return torch.cat([self.first.expand(len(images), -1, -1), tokens], 1) + self.place


class Attention(nn.Module):
    """Multi-head self-attention that returns its output and its weights (C, H, n, n)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (C, n, d) and the weights."""
        q, k, v = (m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.query, self.key, self.value))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights


class Mlp(nn.Module):
    """The feed-forward part: two maps with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (C, n, d)."""
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width)
        self.attention = Attention(shape.width, shape.heads)
        self.norm2 = nn.LayerNorm(shape.width)
        self.mlp = Mlp(shape.width, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer hands on (C, n, d)."""
        x = x + self.attention(self.norm1(x))[0]
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Patches, a class token, learned places, pre-norm layers, and a head on the class token.

    Args:
        shape: its form.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021.
    """

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = Embedding(shape)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (C, classes)."""
        x = self.embedding(images)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.head(self.norm(x[:, 0])))


def patches(images: Tensor, size: int) -> Tensor:
    """Return the patches (C, patches, channels * size²) of images (C, channels, height, width), row by row.

    Args:
        images: any images whose sides the patches tile.
        size: height and width of a patch.
    """
    count, channels, height, width = images.shape
    tiles = images.view(count, channels, height // size, size, width // size, size)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * size * size)


def fresh(shape: VitShape, generator: torch.Generator) -> Vit:
    """Return a module with drawn weights: maps and places normal with deviation 0.02, biases zero.

    Args:
        shape: its form.
        generator: draws the weights.
    """
    module = Vit(shape)
    with torch.no_grad():
        for parameter in (module.embedding.first, module.embedding.place):
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
        for child in module.modules():
            if isinstance(child, nn.Linear):
                deviation = child.in_features**-0.5
                child.weight.copy_(deviation * torch.randn(child.weight.shape, generator=generator))
                child.bias.zero_()
    return module
