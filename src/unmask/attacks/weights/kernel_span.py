"""The span of the training images, from gradients of a trained kernel machine."""

from collections.abc import Callable

import torch
from torch import Tensor

FLOOR = 64 * 2.0**-52
"""Singular values below this share of the largest are rounding in float64."""


def input_span(
    change: Callable[[Tensor], Tensor], size: int, length: float, generator: torch.Generator
) -> Tensor | None:
    """Return an orthonormal basis (D, N) of the span of the images, or None if there are too many of them.

    A gradient at z is a sum of images plus a multiple of z. With all z in one random subspace Z, the
    gradients at right angles to Z span what the images span there, and with Z added a space that holds
    the images. Two such spaces with subspaces of their own have the span of the images in common,
    if their dimensions fit: N + 2 dim Z < D. The rank N is not known before; Z grows until it exceeds it.

    Args:
        change: inputs (B, D) to (B, 1), differentiable.
        size: D.
        length: norm of the inputs asked for.
        generator: source of the places.
    """
    width = min(32, size // 3 - 1)
    while width >= 1:
        left, right = (_with(change, size, width, length, generator) for _ in range(2))
        count = left[1]
        if count < width and count == right[1]:
            if count == 0:
                return torch.zeros(size, 0, dtype=torch.float64)
            return left[0] @ torch.linalg.svd(left[0].T @ right[0])[0][:, :count]
        if 2 * width >= size // 3:
            break
        width = 2 * width
    return None


def _with(
    change: Callable[[Tensor], Tensor], size: int, width: int, length: float, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Return a basis of images and one random subspace, and the number of images."""
    z = torch.linalg.qr(torch.randn(size, width, generator=generator, dtype=torch.float64))[0]
    places = torch.randn(2 * width, width, generator=generator, dtype=torch.float64) @ z.T
    places = (length * places / places.norm(dim=1, keepdim=True)).requires_grad_()
    gradients = torch.autograd.grad(change(places).sum(), places)[0]
    _, values, rows = torch.linalg.svd(gradients - (gradients @ z) @ z.T, full_matrices=False)
    count = int((values > FLOOR * gradients.norm()).sum())
    return torch.linalg.qr(torch.cat([z, rows[:count].T], 1))[0], count
