"""Attention in the forms that this project compares: soft-max, and three that become polynomials."""

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.layers.activation import Activation
from unmask.poly.layers.norm import BatchNorm

KINDS = ("softmax", "scaled", "power", "gaussian")
PLACEMENTS = {"after-root": (0.0, 0.5), "after": (0.0, 1.0), "before-root": (0.5, 0.0), "both": (1.0, 1.0)}
"""Powers of 1 / L before and after the activation: the four placements of Zimerman et al.'s ablation."""


class Weights(nn.Module):
    """Scores (B, H, n, n) and a mask (n, n) of zeros and ones to attention weights of the same shape.

    softmax: rows of exp, normalised (-inf where masked).
    scaled: L^-b mask * p(L^-a norm(scores)), with p pointwise and a norm over the batch, heads as channels.
    power: mask * s^p / (mean of the visible s^p + epsilon) / L, with a polynomial reciprocal.
    gaussian: mask * exp(scores) / L, where scores are -|q - k|^2 / (2 sqrt(d_h)).

    Args:
        kind: one of `KINDS`.
        heads: their number.
        activation: p of `scaled`.
        placement: one of `PLACEMENTS`, for `scaled`.
        normed: whether scores of `scaled` pass a batch norm.
        power: even p of `power`.
        epsilon: added to the mean of `power`, which bounds the reciprocal.

    Raises:
        BadInput: if kind or placement is unknown, or the power is odd.

    Source: Zimerman et al., 2024 (scaled) and 2025 (power); Rho et al., 2025 (gaussian).
    """

    def __init__(
        self,
        kind: str,
        heads: int,
        *,
        activation: str = "gelu",
        placement: str = "after-root",
        normed: bool = True,
        power: int = 4,
        epsilon: float = 1e-3,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise BadInput("attention", kind, "is unknown", f"name one of: {', '.join(KINDS)}")
        if placement not in PLACEMENTS:
            raise BadInput("placement", placement, "is unknown", f"name one of: {', '.join(PLACEMENTS)}")
        if power % 2 or power < 2:
            raise BadInput("power", power, "is odd or below 2, so that weights could be negative", "give 2, 4 or 6")
        self.kind, self.placement, self.power, self.epsilon = kind, placement, power, epsilon
        self.norm = BatchNorm(heads, axis=1) if kind == "scaled" and normed else None
        functions = {"scaled": activation, "power": "inverse", "gaussian": "exp"}
        self.activation = Activation(functions[kind]) if kind in functions else None

    def forward(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Return the weights."""
        length = scores.shape[-1]
        if self.activation is None:
            seen = scores if mask is None else scores.masked_fill(mask == 0, -torch.inf)
            return seen.softmax(-1)
        if self.kind == "power":
            return self._power(scores, mask)
        if self.kind == "gaussian":
            weights = self.activation(scores) / length
        else:
            before, after = PLACEMENTS[self.placement]
            scores = scores * length**-before
            scores = scores if self.norm is None else self.norm(scores)
            weights = self.activation(scores) * length**-after
        return weights if mask is None else weights * mask

    def _power(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        assert self.activation is not None
        # Over the mean, not the sum: the range of the reciprocal must not grow with the length.
        raised = scores**self.power
        raised = raised if mask is None else raised * mask
        visible = scores.shape[-1] if mask is None else mask.sum(-1, keepdim=True)
        mean = raised.sum(-1, keepdim=True) / visible
        return raised * self.activation(mean + self.epsilon) / visible


class SelfAttention(nn.Module):
    """Self-attention with several heads around one of the kinds of weights.

    Args:
        width: of a token.
        weights: what turns scores into weights.
        heads: their number.

    Raises:
        BadInput: if the heads do not share the width.
    """

    def __init__(self, width: int, heads: int, weights: Weights) -> None:
        super().__init__()
        if width % heads:
            raise BadInput("heads", heads, f"do not share a width of {width}", "choose a divisor")
        self.heads, self.weights = heads, weights
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the output (B, n, d) for tokens (B, n, d); mask (n, n) is one where a token may look."""
        q, k, v = (m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.query, self.key, self.value))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if self.weights.kind == "gaussian":
            halves = (q.square().sum(-1).unsqueeze(-1), k.square().sum(-1).unsqueeze(-2))
            scores = scores - 0.5 * q.shape[-1] ** -0.5 * (halves[0] + halves[1])
        return self.output((self.weights(scores, mask) @ v).transpose(1, 2).flatten(2))
