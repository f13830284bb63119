"""What takes the place of a soft-max or a norm over features inside a module that somebody else wrote."""

import math

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.layers.activation import Activation

ROUNDS = 12
HIDDEN = -1e8
"""Scores below are masked: libraries add the least number of the format, or minus infinity."""


class PowerSoftmax(nn.Module):
    """Rows of scores s (B, H, n, m) to weights b^p / (m' (mean b^p + epsilon)), b = 1 + a_h (s - c_h) / p, p even.

    (1 + x / p)^p tends to e^x, so that it starts near the soft-max of the original; the mean over the m' visible
    scores in place of the sum keeps the range of the reciprocal from growing with the length. c_h is a public
    constant of each head that puts the mean near one, a_h is folded into the query's map.

    Args:
        heads: H; 1 for scores of another rank, which share their constants.
        power: p, a power of two.
        epsilon: added to the mean, which bounds the reciprocal.
        centred: take the mean of the visible scores off each row first, which changes no soft-max and is linear, so
            that rows differ less and the reciprocal has a narrower interval.

    Raises:
        BadInput: if the power is no power of two of at least 2.

    Source: Zimerman et al., 2025 (arXiv 2410.09457), whose p-th powers are those with a learned offset.

    Example:
        >>> PowerSoftmax(1)(torch.zeros(1, 1, 2, 2)).sum().round(decimals=2)
        tensor(2.)
    """

    def __init__(self, heads: int, power: int = 16, epsilon: float = 1e-3, *, centred: bool = False) -> None:
        super().__init__()
        if power < 2 or power & (power - 1):
            raise BadInput("power", power, "is no power of two", "give 2, 4, 8, 16 or 32")
        self.power, self.epsilon = power, epsilon
        # In the checkpoint: a conversion that is gone on with stays what it was.
        self.register_buffer("centring", torch.tensor(centred))
        self.gain = nn.Parameter(torch.ones(heads))
        self.centre = nn.Parameter(torch.zeros(heads))
        self.inverse = Activation("inverse")

    @torch.no_grad()
    def calibrate(self, scores: Tensor) -> None:
        """Set a_h and c_h: the least score gets no weight, and the mean over rows of log(mean b^p) is zero.

        A base below zero would give a low score a high weight, so that a head whose scores reach far down is
        flattened: a_h = min(1, p / (c_h - least)).

        Args:
            scores: (B, H, n, m) of public inputs.
        """
        heads = scores.transpose(0, 1) if len(self.centre) > 1 else scores.unsqueeze(0)
        for index, own in enumerate(heads.float()):
            rows = own.reshape(-1, own.shape[-1])
            visible = rows > HIDDEN
            rows, visible = rows[visible.any(1)], visible[visible.any(1)]  # a row that sees nothing says nothing
            count = visible.sum(1)
            rows = self._moved(rows, visible)
            least = rows[visible].min()
            centre = (rows.masked_fill(~visible, -math.inf).logsumexp(1) - count.log()).mean()
            for _ in range(ROUNDS):
                gain = (self.power / (centre - least).clamp_min(1e-3)).clamp_max(1.0)
                base = (1.0 + gain / self.power * (rows - centre)).masked_fill(~visible, 0.0)
                logs = (base.pow(self.power).sum(1) / count).clamp_min(1e-30).log()
                centre = centre + 0.7 * logs.mean() / gain
            self.gain[index], self.centre[index] = gain, centre

    def forward(self, scores: Tensor) -> Tensor:
        """Return the weights, zero where scores are masked."""
        visible = scores > HIDDEN
        wide = (slice(None), None, None) if len(self.gain) > 1 else ()
        x = self._moved(scores.float(), visible)
        raised = (1.0 + (self.gain[wide] / self.power) * (x - self.centre[wide])).masked_fill(~visible, 0.0)
        for _ in range(self.power.bit_length() - 1):
            raised = raised.square()
        count = visible.sum(-1, keepdim=True).clamp_min(1)
        return raised * (self.inverse(raised.sum(-1, keepdim=True) / count + self.epsilon) / count)

    @property
    def centred(self) -> bool:
        """Whether rows lose their mean."""
        return bool(self.centring)

    def _moved(self, scores: Tensor, visible: Tensor) -> Tensor:
        x = scores.masked_fill(~visible, 0.0)
        return x - x.sum(-1, keepdim=True) / visible.sum(-1, keepdim=True).clamp_min(1) if self.centred else x

    def levels(self, inverse: int) -> int:
        """Return the levels: the mask before the mean, squarings, the mask, the reciprocal, and the product with it.

        Args:
            inverse: of the reciprocal.
        """
        return int(self.centred) + self.power.bit_length() - 1 + 1 + inverse + 1


class Norm(nn.Module):
    """y = (x - m) r(v + epsilon) gain + bias over the last axis, r first 1 / sqrt and later a polynomial.

    Gain and bias stay with the module that calls it, which hands them over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inverse_root = Activation("inverse-sqrt")

    def forward(self, x: Tensor, gain: Tensor | None, bias: Tensor | None, epsilon: float, centred: bool) -> Tensor:
        """Return the normalised features (..., d).

        Args:
            x: (..., d).
            gain: (d,) or None.
            bias: (d,) or None.
            epsilon: added to the variance.
            centred: take the mean off first (LayerNorm), or not (RMSNorm).
        """
        x = x.float()
        x = x - x.mean(-1, keepdim=True) if centred else x
        x = x * self.inverse_root(x.square().mean(-1, keepdim=True) + epsilon)
        x = x if gain is None else x * gain
        return x if bias is None else x + bias

    def levels(self, inverse: int) -> int:
        """Return the levels: square, inverse square root, product; the gain is folded into the next map.

        Args:
            inverse: of the inverse square root.
        """
        return 2 + inverse
