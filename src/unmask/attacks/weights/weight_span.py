"""Column and row spaces of a weight change, from random sketches measured against a replica of its noise."""

import torch
from torch import Tensor

from unmask.subspace import ROUNDING


def rounding_deviation(start: Tensor, final: Tensor, dtype: str, noise: float) -> Tensor:
    """Return the deviation of each entry of `final - start` that release alone explains, float64.

    Both are rounded to a format of spacing `u |w|` at most, 3/4 of it on average over a binade; a
    uniform error has deviation spacing / sqrt(12). Weights in float64 carry the rounding of the
    arithmetic that made the change, of the same form.

    Args:
        start: weights before training, any shape.
        final: weights after it.
        dtype: number format of the release.
        noise: deviation of added Gaussian noise.
    """
    size = start.double().square() + final.double().square()
    return (noise**2 + (0.75 * ROUNDING[dtype]) ** 2 * size / 12).sqrt()


def column_space(matrix: Tensor, deviation: Tensor, generator: torch.Generator, margin: float = 2.0) -> Tensor:
    """Return an orthonormal basis (m, r) of the columns of a matrix (m, n) that stand above its noise.

    The matrix times k random directions has the same column space if k exceeds the rank; k is doubled
    until it does. The floor is the largest singular value of a replica of the noise under the same
    sketch, times `margin`, and at least the rounding of the sketch itself.

    Args:
        matrix: (m, n), float64.
        deviation: (m, n) deviation of each entry's noise.
        generator: source of the directions and of the replica.
        margin: factor on the floor.
    """
    limit, width = min(matrix.shape), 64
    replica = deviation * torch.randn(matrix.shape, generator=generator, dtype=torch.float64)
    while True:
        width = min(width, limit)
        sketch = torch.randn(matrix.shape[1], width, generator=generator, dtype=torch.float64)
        left, values, _ = torch.linalg.svd(matrix @ sketch, full_matrices=False)
        floor = margin * float(torch.linalg.matrix_norm(replica @ sketch, 2))
        floor = max(floor, 2.0**-52 * 8 * float(values[0]))
        rank = int((values > floor).sum())
        if rank < width or width == limit:
            return left[:, :rank]
        width *= 2
