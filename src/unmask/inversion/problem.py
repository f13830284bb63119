"""The published problem: which X has the attention output B?

    L(X) = || D(X)^-1 exp(X^T W X) X^T V - B ||_F^2,     D(X) = diag(exp(X^T W X) 1)

`X` (d x n) holds one token a column, `W` (d x d) is the product of query and key maps with `1/sqrt(d)` absorbed in it,
`V` (d x d_v) the value map and `B` (n x d_v) the output. All methods take a batch of guesses (R x d x n).

With `S = X^T W X`, `P = softmax(S)` by rows, `H = X^T V` and `C = P H - B`, moving X by T gives

    S1 = T^T W X + X^T W T         P1 = P o (S1 - rowsum(P o S1))          Y1 = P1 H + P T^T V
    S2 = 2 T^T W T                 P2 = P o (c o c - rowsum(P o c o c) + S2 - rowsum(P o S2))
    c = S1 - rowsum(P o S1)        Y2 = P2 H + 2 P1 T^T V

as first and second derivative of the output `Y = P H`, and

    T^T (hess L) T = 2 ||Y1||^2 + 2 <C, Y2>.

The first part is the Gauss-Newton form, never negative; the second vanishes where C does.

Source: Deng, Song, Xie, Yang, "Unmasking Transformers: A Theoretical Approach to Data Recovery via Attention Weights",
2023, arXiv 2310.12462 (the loss; the closed forms are derived here).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.errors import BadInput


class Point(NamedTuple):
    """What every derivative at a guess shares.

    Args:
        x: guesses (R x d x n).
        p: attention (R x n x n).
        h: values `X^T V` (R x n x d_v).
        c: residual (R x n x d_v).
        query: `W^T X` (R x d x n).
        key: `W X` (R x d x n).
    """

    x: Tensor
    p: Tensor
    h: Tensor
    c: Tensor
    query: Tensor
    key: Tensor


@dataclass(frozen=True, kw_only=True)
class AttentionProblem:
    """Weights and output of one attention head, and the loss of a guessed input.

    Args:
        W: scores' bilinear form (d x d).
        V: value map (d x d_v).
        B: attention output (n x d_v).

    Raises:
        BadInput: if a tensor is not a finite real matrix, or shapes or types do not fit.

    Example:
        >>> problem = AttentionProblem(W=torch.eye(2), V=torch.eye(2), B=torch.zeros(1, 2))
        >>> problem.loss(torch.ones(1, 2, 1))
        tensor([2.])
    """

    W: Tensor
    V: Tensor
    B: Tensor

    def __post_init__(self) -> None:
        for name, matrix in (("W", self.W), ("V", self.V), ("B", self.B)):
            _check_matrix(name, matrix)
        d = self.W.shape[0]
        if self.W.shape[1] != d:
            raise BadInput("W", tuple(self.W.shape), "is not square", "give the product of query and key maps")
        if self.V.shape[0] != d:
            raise BadInput("V", tuple(self.V.shape), f"has not W's {d} rows", "give the value map of the same head")
        if self.B.shape[1] != self.V.shape[1]:
            raise BadInput(
                "B", tuple(self.B.shape), f"has not V's {self.V.shape[1]} columns", "give the same head's output"
            )
        if self.B.shape[0] == 0:
            raise BadInput("B", tuple(self.B.shape), "has no rows", "give at least one token's output")

    @classmethod
    def of(cls, seen: Mapping[str, Tensor]) -> "AttentionProblem":
        """Return the problem of tensors under their names.

        Raises:
            BadInput: if one of W, V and B is missing or does not fit.
        """
        for name in ("W", "V", "B"):
            if name not in seen:
                raise BadInput(name, sorted(seen), "is missing", "give W, V and B of one head: each says little alone")
        return cls(W=seen["W"], V=seen["V"], B=seen["B"])

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (d, n) of the unknown."""
        return self.W.shape[0], self.B.shape[0]

    def at(self, x: Tensor) -> Point:
        """Return what the derivatives at guesses `x` (R x d x n) share.

        Raises:
            BadInput: if the guesses' shape does not fit.
        """
        if x.ndim != 3 or tuple(x.shape[1:]) != self.shape:
            raise BadInput("x", tuple(x.shape), f"is no batch of {self.shape} guesses", "put the batch first")
        key = self.W @ x
        p = torch.softmax(x.mT @ key, -1)
        h = x.mT @ self.V
        return Point(x=x, p=p, h=h, c=p @ h - self.B, query=self.W.mT @ x, key=key)

    def output(self, x: Tensor) -> Tensor:
        """Return `P(X) X^T V` (R x n x d_v) of guesses (R x d x n)."""
        return self.at(x).c + self.B

    def loss(self, x: Tensor) -> Tensor:
        """Return the loss (R) of guesses (R x d x n)."""
        return self.at(x).c.square().sum((-2, -1))

    def jvp(self, at: Point, t: Tensor) -> Tensor:
        """Return `J t`, the output's derivative (R x n x d_v) along `t` (R x d x n)."""
        return softened(at.p, _scores(at, t)) @ at.h + at.p @ (t.mT @ self.V)

    def vjp(self, at: Point, g: Tensor) -> Tensor:
        """Return `J^T g` (R x d x n) of `g` (R x n x d_v): key, query and value path."""
        ds = softened(at.p, g @ at.h.mT)
        return at.key @ ds.mT + at.query @ ds + self.V @ (g.mT @ at.p)

    def gradient(self, at: Point) -> Tensor:
        """Return the loss's gradient (R x d x n)."""
        return self.vjp(at, 2 * at.c)

    def bend(self, at: Point, t: Tensor) -> Tensor:
        """Return the output's second derivative (R x n x d_v) along `t` (R x d x n), twice."""
        s1 = _scores(at, t)
        p2 = curvature(at.p, s1, 2 * t.mT @ (self.W @ t))
        return p2 @ at.h + 2 * softened(at.p, s1) @ (t.mT @ self.V)

    def gauss_newton(self, at: Point, t: Tensor) -> Tensor:
        """Return `J^T J t` (R x d x n)."""
        return self.vjp(at, self.jvp(at, t))

    def quadratic(self, at: Point, t: Tensor) -> Tensor:
        """Return `t^T (hess L) t` (R)."""
        flat = 2 * self.jvp(at, t).square().sum((-2, -1))
        return flat + 2 * (at.c * self.bend(at, t)).sum((-2, -1))


def softened(p: Tensor, s: Tensor) -> Tensor:
    """Return `P o (s - rowsum(P o s))`: the soft-max's derivative, which is symmetric."""
    return p * (s - (p * s).sum(-1, keepdim=True))


def curvature(p: Tensor, s1: Tensor, s2: Tensor) -> Tensor:
    """Return the soft-max's second derivative along scores that move by `s1` and bend by `s2`."""
    c = s1 - (p * s1).sum(-1, keepdim=True)
    return softened(p, c * c + s2)


def _scores(at: Point, t: Tensor) -> Tensor:
    return t.mT @ at.key + at.query.mT @ t


def _check_matrix(name: str, matrix: Tensor) -> None:
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise BadInput(name, (tuple(matrix.shape), matrix.dtype), "is no real matrix", "give a float matrix")
    if not bool(torch.isfinite(matrix).all()):
        raise BadInput(name, tuple(matrix.shape), "is not finite", "leave out what overflowed")
