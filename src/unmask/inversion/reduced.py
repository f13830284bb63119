"""The same problem in as many dimensions as there are tokens, and at one scale.

If `V` has full row rank, `Y = B V^+ = P X^T` is known: each of its rows is a convex combination of tokens. If also
`n <= d` and `P` is invertible, `rowspan(Y) = rowspan(X^T)`. With an orthonormal basis `Q` (n x d) of that span,

    Y = L Q,   X^T = C Q,   X^T W X = C K C^T   with   K = Q W Q^T,

so that the unknown is the n x n matrix `C` and the equation is `P(C K C^T) C = L`: the n d unknowns have become n^2,
and d is gone.

Attention between Gaussian tokens is nearly hard, so that several rows of `Y` are nearly equal and `L` is nearly
singular: what the loss says of a token that nobody attends to is as small as the attention it got. The residual is
therefore multiplied by `L^-1`, which makes every token's share of it equally large. It is `L^-1 P(C) C - I`, zero at
the same `C`, and its level sets no longer are long thin valleys.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.inversion.problem import AttentionProblem, curvature, softened


@dataclass(frozen=True, kw_only=True)
class ReducedProblem:
    """The equation `P(C K C^T) C = L`, left-multiplied by `L^-1`.

    Args:
        core: `K = Q W Q^T` (n x n).
        seen: `L` (n x n) with `Y = L Q`.
        weight: what multiplies the residual from the left, `L^-1` or less.
        sizes: singular values of `L`, largest first.
        basis: `Q` (n x d), orthonormal rows.
        floor: squared norm of the residual that rounding of `B` alone may leave at the true tokens.
    """

    core: Tensor
    seen: Tensor
    weight: Tensor
    sizes: Tensor
    basis: Tensor
    floor: float

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.core.shape[0]

    def residual(self, guess: Tensor) -> Tensor:
        """Return `A (P C - L)` (R x n^2) of guesses (R x n x n)."""
        mixed = torch.softmax(guess @ self.core @ guess.mT, -1) @ guess
        return (self.weight @ (mixed - self.seen)).flatten(1)

    def jacobian(self, guess: Tensor) -> Tensor:
        """Return the derivative of the residual (R x n^2 x n^2), rows and columns in the order of `flatten`.

        With `y_i = sum_j P_ij c_j`, moving token k by `t` changes `y_i` by `P_ik t` (value path), by
        `P_ik (c_i^T K t) (c_k - y_i)` (key path) and, for k = i, by
        `(sum_j P_ij c_j c_j^T - y_i y_i^T) K^T t` (query path).
        """
        n = self.size
        query = guess @ self.core
        p = torch.softmax(query @ guess.mT, -1)
        y = p @ guess
        apart = p.unsqueeze(-1) * (guess.unsqueeze(1) - y.unsqueeze(2))
        out = torch.einsum("rika,rit->riakt", apart, query)
        out += p[:, :, None, :, None] * torch.eye(n, dtype=p.dtype)[:, None, :]
        spread = torch.einsum("rij,rja,rjb->riab", p, guess, guess) - torch.einsum("ria,rib->riab", y, y)
        token = torch.arange(n)
        out[:, token, :, token, :] += (spread @ self.core.mT).transpose(0, 1)
        return (self.weight @ out.reshape(len(guess), n, -1)).reshape(len(guess), n * n, n * n)

    def bend(self, guess: Tensor, step: Tensor) -> Tensor:
        """Return the residual's second derivative along `step` (R x n x n), as R x n^2."""
        p = torch.softmax(guess @ self.core @ guess.mT, -1)
        first = softened(p, step @ self.core @ guess.mT + guess @ self.core @ step.mT)
        second = curvature(p, step @ self.core @ guess.mT + guess @ self.core @ step.mT, 2 * step @ self.core @ step.mT)
        return (self.weight @ (second @ guess + 2 * first @ step)).flatten(1)

    def coarse(self, level: float) -> "ReducedProblem":
        """Return the problem seen at a resolution: directions of `L` smaller than `level` are enlarged no further."""
        return replace(self, weight=_weight(self.seen, level))

    def tokens(self, guess: Tensor) -> Tensor:
        """Return `X` (R x d x n) of guesses (R x n x n)."""
        return (guess @ self.basis).mT

    def surprise(self, guess: Tensor, scale: float) -> Tensor:
        """Return minus the log posterior (R), up to a constant, of exact solutions under a Gaussian prior.

        Several X may explain B exactly. B's density is the sum over them of `p(X) / |det dB/dX|`, so that the share
        of each is known. Directions out of the span of `Y` enter through `P` alone, `d - n` times.
        """
        p = torch.softmax(guess @ self.core @ guess.mT, -1)
        outside = self.basis.shape[1] - self.size
        volume = torch.linalg.slogdet(self.jacobian(guess)).logabsdet + outside * torch.linalg.slogdet(p).logabsdet
        return guess.square().sum((-2, -1)) / (2 * scale**2) + volume


def reduce(problem: AttentionProblem) -> tuple[ReducedProblem | None, str]:
    """Return the reduced problem and an empty string, or None and why it does not exist.

    It needs `n <= d`, `V` of full row rank, and rows of `Y` that are independent to working precision.
    """
    d, n = problem.shape
    precision = torch.finfo(problem.B.dtype).eps
    if n < 2 or n > d:
        return None, f"{n} tokens in {d} dimensions: needs at least 2 and at most as many as dimensions"
    if int(torch.linalg.matrix_rank(problem.V)) < d:
        return None, f"V has not rank {d}, so that attended tokens cannot be read from B"
    rows = torch.linalg.lstsq(problem.V.mT, problem.B.mT, driver="gelsd").solution.mT
    q, r = torch.linalg.qr(rows.mT)
    sizes = torch.linalg.svdvals(r)
    if sizes[-1] <= 4 * precision * sizes[0]:
        return None, "the output's rows are dependent to working precision: a token that nobody attends to is lost"
    basis, seen = q.mT.contiguous(), r.mT.contiguous()
    lost = precision * float(torch.linalg.cond(problem.V)) * float(sizes[0] / sizes[-1])
    small = ReducedProblem(
        core=basis @ problem.W @ basis.mT,
        seen=seen,
        weight=_weight(seen, 0.0),
        sizes=sizes,
        basis=basis,
        floor=n * lost**2,
    )
    return small, ""


def _weight(seen: Tensor, level: float) -> Tensor:
    u, s, vt = torch.linalg.svd(seen)
    return vt.mT @ torch.diag(1 / s.clamp_min(level)) @ u.mT
