"""The one idea: a linear map betrays what passed through it, because its gradient's rows span its inputs."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROUNDING = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance from 1 to the next number, by the name of the format."""
ACCUMULATION = 8.0
"""How much a backward pass in float32 errs beyond rounding its result once; measured 2 to 4 on six-layer encoders."""
CANCELLATION = 1e-3
"""Below this distance the difference of two norms has lost digits in float32 and is computed again in float64."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subspace:
    """An estimated span with a soft projector `P = sum_i w_i b_i b_i^T`.

    Args:
        basis: (d, r) orthonormal columns `b_i`, float64, strongest first.
        weights: (r,) trust `w_i = s_i^2 / (s_i^2 + lambda)` in each direction, in (0, 1].
        rank: number of directions above the noise; directions past it have small weights.
    """

    basis: Tensor
    weights: Tensor
    rank: int

    @property
    def width(self) -> int:
        """Dimension of the space around it."""
        return self.basis.shape[0]

    def half(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return `P^{1/2}` as (d, r): `||P^{1/2} z|| = ||z @ half||`."""
        return (self.basis * self.weights.sqrt()).to(dtype)


def noise_floor(matrix: Tensor, *, dtype: str = "float32", noise: float = 0.0) -> float:
    """Return the largest singular value that rounding and added noise alone would produce.

    Independent entries of deviation `sigma_ij` have a largest singular value of about
    `max_i sqrt(sum_j sigma_ij^2) + max_j sqrt(sum_i sigma_ij^2)` (Bandeira and van Handel 2016);
    for one sigma this is `sigma (sqrt(m) + sqrt(n))`, the edge of the Marchenko-Pastur law.
    3 per cent are added for finite size. Three sources add up: the noise; rounding to a format
    with spacing u, `u |G_ij| / sqrt(24)` on average over a binade; the float32 arithmetic of the
    backward pass, whose error follows the sizes of its factors, `u |row i| |column j| / ||G||`.

    Args:
        matrix: (m, n).
        dtype: number format in which it was released.
        noise: deviation of Gaussian noise added to each entry.
    """
    squares = matrix.double().square()
    total = float(squares.sum())
    if total == 0:
        return 1.03 * noise * (math.sqrt(matrix.shape[0]) + math.sqrt(matrix.shape[1]))
    arithmetic = ROUNDING["float64" if dtype == "float64" else "float32"] * ACCUMULATION
    released = ROUNDING[dtype] if dtype in ("float16", "bfloat16") else 0.0
    rows, columns = squares.sum(1), squares.sum(0)
    # int8 has one step for the whole matrix; the error within it is uniform.
    step = float(matrix.abs().max()) / 127 if dtype == "int8" else 0.0
    variance = noise**2 + step**2 / 12 + (released**2 * squares + arithmetic**2 * rows[:, None] * columns / total) / 24
    return 1.03 * (float(variance.sum(1).max()) ** 0.5 + float(variance.sum(0).max()) ** 0.5)


def estimate_rank(matrix: Tensor, *, dtype: str = "float32", noise: float = 0.0) -> int:
    """Return how many singular values of an (m, n) matrix stand above rounding and noise.

    Args:
        matrix: (m, n).
        dtype: number format in which the matrix was released.
        noise: deviation of Gaussian noise added to each entry.

    Example:
        >>> estimate_rank(torch.outer(torch.arange(1.0, 9.0), torch.ones(5)))
        1
    """
    values = torch.linalg.svdvals(matrix.double())
    return int((values > noise_floor(matrix, dtype=dtype, noise=noise)).sum())


def row_space(matrix: Tensor, *, dtype: str = "float32", noise: float = 0.0, soft: bool = False) -> Subspace:
    """Return the span of the rows of a weight gradient (d_out, d_in), hence of the map's inputs.

    Directions below the noise are dropped. Hard: the others count fully. Soft: with
    `w = s^2 / (s^2 + lambda)`, where s is the signal in the observed value y and lambda the noise
    `l = (floor / (1 + sqrt(m/n)))^2` of one right direction; `y^2 = (s^2 + l)(s^2 + l m/n) / s^2`
    gives s, and for a square matrix w is the expected squared cosine between the estimated and
    the true direction (Benaych-Georges and Nadakuditi 2012).

    Args:
        matrix: (d_out, d_in).
        dtype: number format in which it was released.
        noise: deviation of Gaussian noise added to each entry.
        soft: whether to trust directions by their strength.
    """
    m, n = matrix.shape
    _, values, rows = torch.linalg.svd(matrix.double(), full_matrices=False)
    floor = noise_floor(matrix, dtype=dtype, noise=noise)
    rank = int((values > floor).sum())
    values, basis = values[:rank], rows[:rank].T
    if not soft or rank == 0:
        return Subspace(basis=basis, weights=torch.ones(rank, dtype=torch.float64), rank=rank)
    ratio = m / n
    level = (floor / (1 + math.sqrt(ratio))) ** 2
    middle = values.square() - level * (1 + ratio)
    signal = (middle + (middle.square() - 4 * ratio * level**2).clamp_min(0).sqrt()) / 2
    return Subspace(basis=basis, weights=signal / (signal + level), rank=rank)


def span_distance(vectors: Tensor, subspace: Subspace) -> Tensor:
    """Return `1 - ||P^{1/2} z||^2 / ||z||^2` for vectors z (..., d): 0 inside the span, 1 across it.

    The difference of norms needs one product with (d, r) instead of a projection, so it is fast in
    float32; what falls below 0.001 is computed again in float64 as
    `(||z - B B^T z||^2 + sum_i (1 - w_i) (b_i^T z)^2) / ||z||^2`, which does not cancel.

    Args:
        vectors: (..., d).
        subspace: of the same width.
    """
    flat = vectors.reshape(-1, vectors.shape[-1])
    norms = flat.square().sum(1)
    quick = 1 - (flat @ subspace.half(flat.dtype)).square().sum(1) / norms.clamp_min(torch.finfo(flat.dtype).tiny)
    distances = quick.double()
    close = (quick < CANCELLATION).nonzero()[:, 0]
    if len(close):
        distances[close] = _exact_distance(flat[close].double(), subspace)
    return distances.reshape(vectors.shape[:-1])


def _exact_distance(vectors: Tensor, subspace: Subspace) -> Tensor:
    inside = vectors @ subspace.basis
    outside = (vectors - inside @ subspace.basis.T).square().sum(1)
    doubtful = (inside.square() * (1 - subspace.weights)).sum(1)
    return (outside + doubtful) / vectors.square().sum(1).clamp_min(torch.finfo(torch.float64).tiny)


def row_basis(rows: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Return orthonormal columns (C, d, n) of the span of rows (C, n, d); directions of no length are zero."""
    left, values, _ = torch.linalg.svd(rows.double().transpose(-1, -2), full_matrices=False)
    kept = values > tolerance * values[..., :1]
    return left * kept[..., None, :]


def chordal_distance(rows: Tensor, subspace: Subspace) -> Tensor:
    """Return the squared chordal distance `1 - sum_i cos^2(theta_i) / max(k, r)` of two spans (C,).

    `theta_i` are the principal angles between the span of each candidate's rows, of dimension k,
    and the basis, of dimension r (Ye and Lim 2016 for unequal dimensions). Zero only if the spans
    are equal: unlike `span_distance`, it sees whether the candidate explains the whole basis.

    Args:
        rows: (C, n, d).
        subspace: of the same width; its weights are not used.
    """
    basis = row_basis(rows)
    overlap = (basis.transpose(-1, -2) @ subspace.basis).square().sum((-1, -2))
    dimension = basis.square().sum((-1, -2)).round().clamp_min(subspace.basis.shape[1])
    return 1 - overlap / dimension


def unexplained(rows: Tensor, subspace: Subspace, ridge: float = 1e-6) -> Tensor:
    """Return the weighted share of the basis that a candidate's rows do not span: (C,), differentiable.

    `sum_i w_i (1 - b_i^T P_H b_i) / sum_i w_i` with `P_H = H^T (H H^T + ridge tr(H H^T)/n I)^{-1} H`.

    Args:
        rows: (C, n, d) inputs H of a candidate.
        subspace: of the same width.
        ridge: relative ridge, which keeps the inverse of repeated rows finite.
    """
    basis = subspace.basis.to(rows.dtype)
    weights = subspace.weights.to(rows.dtype)
    unit = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    gram = unit @ unit.transpose(-1, -2)
    gram = gram + ridge * torch.eye(gram.shape[-1], dtype=gram.dtype)
    inside = unit @ basis
    explained = (inside * torch.linalg.solve(gram, inside)).sum(-2)
    return ((1 - explained) * weights).sum(-1) / weights.sum()


def null_threshold(null: Tensor, *, tests: int, expected: float = 0.01) -> float:
    """Return the distance that random candidates undercut `expected` times in `tests` trials.

    Inside the sample this is its quantile. Past it the lower tail is extrapolated: the lowest
    5 per cent of the sample are fitted by a generalised Pareto law (Pickands 1975) with the
    moment estimator `xi = (1 - m^2/v) / 2`, `beta = m (1 + m^2/v) / 2` of the excesses' mean m
    and variance v, and the law's quantile is returned, never below zero.

    Args:
        null: distances of candidates known to be false.
        tests: number of candidates that will be compared with the threshold.
        expected: number of false alarms to accept.
    """
    sample = np.sort(null.double().numpy().ravel())
    level = expected / tests
    if level * len(sample) >= 10:
        return float(np.quantile(sample, level))
    count = max(20, len(sample) // 20)
    edge = sample[min(count, len(sample) - 1)]
    excess = edge - sample[:count]
    mean, variance = float(excess.mean()), float(excess.var())
    if variance <= 0 or mean <= 0:
        return max(0.0, float(sample[0]))
    shape = 0.5 * (1 - mean**2 / variance)
    scale = 0.5 * mean * (1 + mean**2 / variance)
    ratio = level * len(sample) / count
    depth = -scale * math.log(ratio) if abs(shape) < 1e-6 else scale / shape * (ratio**-shape - 1)
    return max(0.0, float(edge - depth))
