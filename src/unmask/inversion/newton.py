"""The published method, as published: ridge, closed forms, approximate Newton steps, and what its theorem asks for.

    L_reg(X) = L(X) + gamma ||X||_F^2

Newton's step is `-H~^-1 g` with `(1 - eps) H <= H~ <= (1 + eps) H` for the Hessian `H` of `L_reg`. Here
`H~ = 2 J^T J + 2 gamma I`, which leaves out the curvature part `2 <C, Y2>`; `eps` is measured at every step as the
largest `|1 - mu|` over the eigenvalues mu of `H^-1 H~`. It falls to 0 with the loss, so that steps near a solution are
Newton's own. The theorem asks that `H` be positive definite, which holds if and only if
`gamma > -lambda_min(hess L) / 2`; that number is reported, and so is lambda_min.

The theorem is local: from a start with `M ||x_0 - x*|| <= 0.1 l` (l the least eigenvalue of H, M its Lipschitz
constant) the distance to the minimiser shrinks by a constant factor a step. From further away it promises nothing, and
`solver.py` exists for that reason. A ridge that stays moves the minimiser away from the true X.

The Hessian is assembled in closed form. With `S_i(T)` the i-th row of `S1`, `M_i = diag(p_i) - p_i p_i^T`, `g_i` the
i-th row of `G = 2C`, `a_i` that of `G H^T` and `a = a_i - <p_i, a_i> 1`,

    K_i = diag(p o a) - p (p o a)^T - (p o a) p^T          (third cumulants of the soft-max against a_i)
    hess L (T, T) = 2 ||J T||^2 + sum_i S_i^T K_i S_i + 2 <dS, T^T W T> + 2 sum_ik (M_i S_i)_k <t_k, V g_i>

where `dS` holds the rows `M_i a_i`.

Source: Deng, Song, Xie, Yang, 2023, arXiv 2310.12462.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.inversion.problem import AttentionProblem, Point, softened

LARGEST = 1024  # unknowns up to which the Hessian is assembled


@dataclass(frozen=True, kw_only=True)
class Step:
    """One iterate of the published method and what the theorem says of it.

    Args:
        x: iterate (d x n), before the step.
        loss: regularised loss.
        gradient_norm: its gradient's norm.
        least_eigenvalue: of the regularised Hessian.
        sufficient_ridge: smallest gamma with which the Hessian at this iterate is no longer indefinite.
        definite: whether the ridge in use exceeds it.
        epsilon: how far the approximate Hessian is from the true one; infinity where that is not definite.
        length: length of the step.
        contraction: length of this step over that of the one before; NaN at first.
    """

    x: Tensor
    loss: float
    gradient_norm: float
    least_eigenvalue: float
    sufficient_ridge: float
    definite: bool
    epsilon: float
    length: float
    contraction: float


def newton(problem: AttentionProblem, start: Tensor, *, ridge: float) -> Iterator[Step]:
    """Yield the iterates of the approximate Newton method from a start (d x n), without end.

    No line search and no damping: the method is followed where it leads, also where it diverges; it ends with the
    last finite iterate.

    Raises:
        BadInput: if the ridge is negative, the start does not fit, or the Hessian would be too large to assemble.
    """
    if not (ridge >= 0 and math.isfinite(ridge)):
        raise BadInput("ridge", ridge, "is negative or not finite", "give 0 or more")
    if start.ndim != 2:
        raise BadInput("start", tuple(start.shape), "is no matrix", f"give one guess of shape {problem.shape}")
    if start.numel() > LARGEST:
        raise BadInput("start", tuple(start.shape), f"has more than {LARGEST} unknowns", "use solver.solve instead")
    x, before = start, float("nan")
    while bool(torch.isfinite(x).all()):
        at = problem.at(x[None])
        jacobian = output_jacobian(problem, at)
        eye = torch.eye(x.numel(), dtype=x.dtype)
        flat = 2 * jacobian.mT @ jacobian + 2 * ridge * eye
        true = loss_hessian(problem, at) + 2 * ridge * eye
        slope = (problem.gradient(at)[0] + 2 * ridge * x).flatten()
        if not bool(torch.isfinite(true).all()):
            return
        least = float(torch.linalg.eigvalsh(true)[0])
        step = -torch.linalg.lstsq(flat, slope[:, None]).solution.view_as(x)
        length = float(step.norm())
        yield Step(
            x=x,
            loss=float(at.c.square().sum() + ridge * x.square().sum()),
            gradient_norm=float(slope.norm()),
            least_eigenvalue=least,
            sufficient_ridge=max(0.0, ridge - least / 2),
            definite=least > 0,
            epsilon=spectral_error(true, flat) if least > 0 else float("inf"),
            length=length,
            contraction=length / before if before > 0 else float("nan"),
        )
        x, before = x + step, length


def output_jacobian(problem: AttentionProblem, at: Point) -> Tensor:
    """Return `J` (n d_v x d n) at the first guess of a point, for `x.flatten()`."""
    p, h = at.p[0], at.h[0]
    n = len(p)
    moved = torch.einsum("ijl,ilak->ijak", _covariance(p), _scores(at))
    out = torch.einsum("ijak,jv->ivak", moved, h) + torch.einsum("ik,av->ivak", p, problem.V)
    return out.reshape(n * h.shape[1], -1)


def loss_hessian(problem: AttentionProblem, at: Point) -> Tensor:
    """Return the Hessian of the loss (d n x d n) at the first guess of a point, for `x.flatten()`."""
    p, h, g = at.p[0], at.h[0], 2 * at.c[0]
    d, n = at.x.shape[1:]
    a = g @ h.mT
    weighted = p * (a - (p * a).sum(-1, keepdim=True))
    outer = p[:, :, None] * weighted[:, None, :]
    third = torch.diag_embed(weighted) - outer - outer.mT
    scores = _scores(at)
    bent = torch.einsum("ijak,ijl,ilbm->akbm", scores, third, scores)
    ds = softened(p, a)
    bent += torch.einsum("km,ab->akbm", ds, problem.W) + torch.einsum("mk,ba->akbm", ds, problem.W)
    moved = torch.einsum("ijl,ilak->ijak", _covariance(p), scores)
    cross = torch.einsum("imak,bi->akbm", moved, problem.V @ g.mT)
    bent += cross + cross.permute(2, 3, 0, 1)
    jacobian = output_jacobian(problem, at)
    return 2 * jacobian.mT @ jacobian + bent.reshape(d * n, d * n)


def spectral_error(true: Tensor, approximate: Tensor) -> float:
    """Return the least eps with `(1 - eps) true <= approximate <= (1 + eps) true`, for a definite `true`."""
    factor, failed = torch.linalg.cholesky_ex(true)
    if int(failed):
        return float("inf")
    half = torch.linalg.solve_triangular(factor, approximate, upper=False)
    whole = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    return float((torch.linalg.eigvalsh((whole + whole.mT) / 2) - 1).abs().max())


def distance_ratios(iterates: list[Tensor], minimiser: Tensor) -> list[float]:
    """Return `||x_{t+1} - x*|| / ||x_t - x*||`, the contraction that the theorem bounds, for iterates (d x n)."""
    apart = [float((x - minimiser).norm()) for x in iterates]
    return [b / a for a, b in itertools.pairwise(apart) if a > 0]


def _covariance(p: Tensor) -> Tensor:
    return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


def _scores(at: Point) -> Tensor:
    """Return the derivative of `S_ij` by `X_ak` (n x n x d x n)."""
    eye = torch.eye(at.x.shape[2], dtype=at.x.dtype)
    return torch.einsum("aj,ik->ijak", at.key[0], eye) + torch.einsum("ai,jk->ijak", at.query[0], eye)
