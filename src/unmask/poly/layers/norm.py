"""Norms: over the batch, which fold away, and over the features, whose inverse square root is a polynomial."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.poly.layers.activation import Activation

EPSILON = 1e-5


class BatchNorm(nn.Module):
    """y = (x - mean) / deviation * gain + bias over every axis but one, the channels.

    In evaluation it is an affine map of each channel with fixed numbers, so it folds into what comes next.

    Args:
        channels: their number.
        axis: where they are; -1 for features (B, n, d), 1 for the heads of scores (B, H, n, n).
        momentum: share of a new batch in the running statistics.
    """

    def __init__(self, channels: int, axis: int = -1, momentum: float = 0.05) -> None:
        super().__init__()
        self.axis, self.momentum = axis, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised tensor, of the same shape."""
        flat = x.flatten(0, -2) if self.axis == -1 else x
        mean, variance = cast(Tensor, self.mean), cast(Tensor, self.variance)
        # The first batch sets the statistics: as a small share of it, those of deep pointwise attention, which
        # grow with every layer, would leave evaluation far from training for a hundred steps.
        share = self.momentum if bool(mean.any()) else 1.0
        out = F.batch_norm(flat, mean, variance, self.weight, self.bias, self.training, share, EPSILON)
        return out.view_as(x)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return (scale, shift) of each channel in evaluation, in float64."""
        mean, variance = cast(Tensor, self.mean).double(), cast(Tensor, self.variance).double()
        scale = self.weight.detach().double() / (variance + EPSILON).sqrt()
        return scale, self.bias.detach().double() - mean * scale


class FeatureNorm(nn.Module):
    """LayerNorm or RMSNorm: y = (x - m) * r(v) * gain + bias, where r is 1 / sqrt, later a polynomial.

    Args:
        width: number of features d.
        centred: take the mean off first (LayerNorm), or not (RMSNorm).
        epsilon: added to the variance.
    """

    def __init__(self, width: int, *, centred: bool = True, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.centred, self.epsilon = centred, epsilon
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if centred else None
        self.inverse_root = Activation("inverse-sqrt")

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features (..., d)."""
        x = x.float() if x.dtype is torch.bfloat16 else x
        if self.training and not self.inverse_root.substituted and not self.inverse_root.watched:
            # The library's norm is several times faster, but hides the variance.
            shape = x.shape[-1:]
            if self.centred:
                return F.layer_norm(x, shape, self.weight, self.bias, self.epsilon)
            return F.rms_norm(x, shape, self.weight, self.epsilon)
        centred = x - x.mean(-1, keepdim=True) if self.centred else x
        scaled = centred * self.inverse_root(centred.square().mean(-1, keepdim=True) + self.epsilon) * self.weight
        return scaled if self.bias is None else scaled + self.bias


def norm(name: str, width: int) -> nn.Module:
    """Return the norm `batch`, `layer` or `rms` over features.

    Args:
        name: which.
        width: number of features.
    """
    return BatchNorm(width) if name == "batch" else FeatureNorm(width, centred=name == "layer")
