"""Chebyshev series of many entries, in blocks that stay in the cache, with their own gradient."""

from typing import Any

import torch
from torch import Tensor

BLOCK = 32768


class Series(torch.autograd.Function):
    """sum_k c_k T_k(t) of each entry.

    Forward keeps t and the coefficients alone; an automatic gradient would keep three tensors a degree.
    Backward: dt = g p'(t), with p' by the derivative's series, and dc_k = sum g T_k(t).
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, coefficients: Tensor) -> Tensor:
        """Return the values, of t's shape.

        Args:
            ctx: keeps t and the coefficients.
            t: any shape, in [-1, 1] where the series is meant for.
            coefficients: (degree + 1,).
        """
        ctx.save_for_backward(t, coefficients)
        return _values(t, coefficients.tolist())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients by t and by the coefficients.

        Args:
            ctx: what forward kept.
            grads: one, of the values.
        """
        t, coefficients = ctx.saved_tensors
        by_t = by_c = None
        if ctx.needs_input_grad[0]:
            by_t = _values(t, derivative(coefficients.tolist())).mul_(grads[0])
        if ctx.needs_input_grad[1]:
            by_c = _moments(t, grads[0], len(coefficients)).to(coefficients)
        return by_t, by_c


def derivative(coefficients: list[float]) -> list[float]:
    """Return the Chebyshev coefficients of the derivative by t.

    Args:
        coefficients: c_0 to c_d.
    """
    # c'_{k-1} = c'_{k+1} + 2 k c_k, and half of that for k = 1.
    degree = len(coefficients) - 1
    found = [0.0] * (degree + 2)
    for k in range(degree, 0, -1):
        found[k - 1] = found[k + 1] + 2.0 * k * coefficients[k]
    found[0] *= 0.5
    return found[: max(degree, 1)]


def _values(t: Tensor, coefficients: list[float]) -> Tensor:
    flat = t.contiguous().view(-1)
    out = torch.empty_like(flat)
    for piece, into in zip(flat.split(BLOCK), out.split(BLOCK), strict=True):
        # Clenshaw: b_k = c_k + 2 t b_{k+1} - b_{k+2}.
        twice = 2.0 * piece
        first, second = torch.zeros_like(piece), torch.zeros_like(piece)
        for value in reversed(coefficients[1:]):
            second.neg_().add_(value).addcmul_(twice, first)
            first, second = second, first
        torch.addcmul(coefficients[0] - second, piece, first, out=into)
    return out.view_as(t)


def _moments(t: Tensor, g: Tensor, count: int) -> Tensor:
    totals = torch.zeros(count, dtype=torch.float64)
    for piece, weight in zip(t.reshape(-1).split(BLOCK), g.reshape(-1).split(BLOCK), strict=True):
        before, now, twice = torch.ones_like(piece), piece.clone(), 2.0 * piece
        totals[0] += weight.sum()
        for k in range(1, count):
            totals[k] += weight @ now
            before.neg_().addcmul_(twice, now)
            before, now = now, before
    return totals
