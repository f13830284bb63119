"""Lengths and duals of the points of a kernel machine whose directions are known."""

from collections.abc import Callable

import torch
from torch import Tensor

from unmask.distill.ntk import AnalyticNTK

PLACES = 24
"""Places along each direction at which the field is read."""

GRID = torch.logspace(-2, 0.5, 120, dtype=torch.float64)
"""Root mean squares of pixels that are tried first; the best is refined between its neighbours."""

TURNS = 60
"""Golden sections of the refinement."""

GOLDEN = 0.6180339887498949


def scales(
    kernel: AnalyticNTK, field: Callable[[Tensor], Tensor], directions: Tensor, length: float, size: int
) -> tuple[Tensor, Tensor]:
    """Return points (N, r) and duals (N,) of unit directions.

    `G(u) = sum_i c_i(u) d_i` gives each `c_i(u) = alpha_i s_i k'(s_i d_i . u)`, k' the derivative by the
    inner product. How `c_i` varies along `d_i` tells the length and sign `s_i`, and its size then
    `alpha_i`. A homogeneous kernel (no biases) leaves `|s_i|` free: any length then fits as well.

    Args:
        kernel: the kernel.
        field: G, of coordinates (B, r).
        directions: (N, r) unit vectors.
        length: norm of the inputs that the field asks for.
        size: D.
    """
    count = len(directions)
    along = length * torch.linspace(-0.9, 0.9, PLACES, dtype=torch.float64)
    places = (along[None, :, None] * directions[:, None]).reshape(count * PLACES, -1)
    parts = torch.linalg.solve(directions.T, field(places).detach().T).T
    seen = parts.reshape(count, PLACES, count).diagonal(dim1=0, dim2=2).T

    def fitted(scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return squared misfits and duals of lengths, both of the shape (N, ...)."""
        rise = _rise(kernel, scale[..., None] * along, scale[..., None], length, size)
        shown = seen.reshape(count, *[1] * (scale.dim() - 1), PLACES)
        dual = (rise * shown).sum(-1) / rise.square().sum(-1)
        return (shown - dual[..., None] * rise).square().sum(-1), dual

    tried = torch.cat([-GRID, GRID]).expand(count, -1) * size**0.5
    best = fitted(tried)[0].argmin(1)
    sign = torch.where(best < len(GRID), -1.0, 1.0).double()
    place = best % len(GRID)
    low = GRID[(place - 1).clamp_min(0)] * size**0.5
    high = GRID[(place + 1).clamp_max(len(GRID) - 1)] * size**0.5
    for _ in range(TURNS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        nearer = fitted(sign * left)[0] < fitted(sign * right)[0]
        low, high = torch.where(nearer, low, left), torch.where(nearer, right, high)
    scale = sign * (low + high) / 2
    return scale[:, None] * directions, fitted(scale)[1]


def _rise(kernel: AnalyticNTK, product: Tensor, scale: Tensor, length: float, size: int) -> Tensor:
    """Return `s k'` at inner products `s d . u`."""
    product = (product / size).detach().requires_grad_()
    one, other = scale.square() / size, torch.tensor(length**2 / size, dtype=torch.float64)
    slope = torch.autograd.grad(kernel.of_products(product, one, other).sum(), product)[0]
    return scale * slope / size
