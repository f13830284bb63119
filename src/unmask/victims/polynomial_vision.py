"""A polynomial network of images as the adversary holds it: the plain form, as a torch module with gradients."""

import math
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly import demo
from unmask.poly.network import Affine, Block, Network
from unmask.poly.polynomial import Polynomial
from unmask.victims.torch_vision import TorchVision, wrap
from unmask.victims.vit import patches


class Fixed(nn.Module):
    """A polynomial on each number, in its Chebyshev basis."""

    def __init__(self, polynomial: Polynomial) -> None:
        super().__init__()
        self.register_buffer("coefficients", torch.tensor(polynomial.coefficients, dtype=torch.float64))
        self.register_buffer("interval", torch.tensor(polynomial.interval, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Return p(x), of the same shape, by Clenshaw's recurrence; any derivative of it can be taken."""
        low, high = cast(Tensor, self.interval).tolist()
        t = (x - 0.5 * (low + high)) * (2.0 / (high - low))
        first, second = torch.zeros_like(t), torch.zeros_like(t)
        for value in reversed(cast(Tensor, self.coefficients).tolist()[1:]):
            first, second = value + 2.0 * t * first - second, first
        return cast(Tensor, self.coefficients)[0] + t * first - second


class Embedding(nn.Module):
    """Images (C, channels, side, side) in [0, 1] to tokens (C, n, d): a map of each patch, plus its place."""

    def __init__(self, network: Network, patch: int) -> None:
        super().__init__()
        assert network.embedding is not None  # checked by `wrapped`
        self.patch = patch
        self.projection = _linear(network.embedding)
        self.place = nn.Parameter(torch.tensor(network.position))

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens."""
        return cast(Tensor, self.projection(patches(images, self.patch))) + self.place


class PointwiseAttention(nn.Module):
    """`mask * p(s Q K^T + t)` in place of a soft-max; returns its output and its weights (C, H, n, n)."""

    def __init__(self, block: Block, tokens: int) -> None:
        super().__init__()
        part = block.attention
        self.heads = part.heads
        self.query, self.key, self.value = (_linear(each) for each in (part.query, part.key, part.value))
        self.out_proj = _linear(part.output)
        self.activation = Fixed(part.activation)
        self.register_buffer("scale", torch.tensor(part.scale)[:, None, None])
        self.register_buffer("shift", torch.tensor(part.shift)[:, None, None])
        mask = torch.ones(tokens, tokens) if part.mask is None else torch.tensor(part.mask)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (C, n, d) and the weights."""
        q, k, v = (m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.query, self.key, self.value))
        scores = cast(Tensor, self.scale) * (q @ k.transpose(-1, -2)) + cast(Tensor, self.shift)
        weights = self.activation(scores) * cast(Tensor, self.mask)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights


class Mlp(nn.Module):
    """Two maps with a polynomial between them."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.fc1, self.fc2 = _linear(block.feed_forward.rise), _linear(block.feed_forward.fall)
        self.activation = Fixed(block.feed_forward.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (C, n, d)."""
        return cast(Tensor, self.fc2(self.activation(self.fc1(x))))


class PolynomialBlock(nn.Module):
    """One layer; its norms are folded into its maps."""

    def __init__(self, block: Block, tokens: int) -> None:
        super().__init__()
        self.attention = PointwiseAttention(block, tokens)
        self.mlp = Mlp(block)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer hands on (C, n, d)."""
        x = x + self.attention(x)[0]
        return x + cast(Tensor, self.mlp(x))


class PolynomialVit(nn.Module):
    """A plain network in torch: the same function of pixels, through which gradients flow.

    Args:
        network: of images.
        patch: height and width of a patch.
    """

    def __init__(self, network: Network, patch: int) -> None:
        super().__init__()
        self.pooling = network.pooling
        self.embedding = Embedding(network, patch)
        self.blocks = nn.ModuleList(PolynomialBlock(block, network.tokens) for block in network.blocks)
        self.head = _linear(network.head)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (C, classes)."""
        x = self.embedding(images)
        for block in self.blocks:
            x = block(x)
        x = x.mean(1) if self.pooling == "mean" else x[:, 0 if self.pooling == "first" else -1]
        return cast(Tensor, self.head(x))


def wrapped(network: Network, *, name: str) -> TorchVision:
    """Turn a polynomial network of images into a public model.

    Args:
        network: takes patches of pixels in [0, 1] that tile a square, row by row.
        name: how reports call it.

    Raises:
        BadInput: if it reads no images, or patches that overlap.
    """
    channels = 1 if math.isqrt(network.inputs) ** 2 == network.inputs else 3
    patch, across = math.isqrt(network.inputs // channels), math.isqrt(network.tokens)
    if network.kind != "image" or network.embedding is None or network.pooling == "all":
        raise BadInput("--model", name, f"is a network of kind {network.kind}", "give one of images")
    if channels * patch**2 != network.inputs or across**2 != network.tokens:
        rule = f"reads {network.tokens} patches of {network.inputs} numbers, which tile no square"
        raise BadInput("--model", name, rule, "give a network whose patches do not overlap")
    module = PolynomialVit(network, patch).float()
    side = patch * across
    return wrap(
        module,
        name=name,
        call=lambda net, images: net(images),
        embedding="embedding",
        shape=(channels, side, side),
        classes=len(network.head.bias),
        heads=network.blocks[0].attention.heads,
    )


def load(path: Path) -> TorchVision:
    """Load a polynomial network from its folder, or the bundled one by its name.

    Args:
        path: a folder with network.json, or `fashion-mnist-poly`.

    Raises:
        BadInput: if the folder holds no network, or none of images.
    """
    return wrapped(demo.find(path), name=path.name)


def _linear(affine: Affine) -> nn.Linear:
    made = nn.Linear(affine.weight.shape[1], affine.weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(affine.weight))
        made.bias.copy_(torch.tensor(affine.bias))
    return made
