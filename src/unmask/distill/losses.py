"""What a small set of images loses against the whole training set: in predictions, and in the weights.

Both are squared distances of two functions that wide networks end in, `f_T` trained on the images T and
`f_S` on the few images S. In the kernel's function space, with duals `a_T = K_TT^-1 y_T` and
`a_S = K_SS^-1 y_S`,

    KIP(S)  = |y_T - K_TS a_S|^2 / 2N                         distance at the training images
    RKIP(S) = |f_T - f_S|^2 / 2                               distance in the function space
            = (a_T^T K_TT a_T - 2 a_T^T K_TS a_S + a_S^T K_SS a_S) / 2

The weight change of a network trained as its tangent is `sum_i a_i grad f(x_i)`, so RKIP is also half of
the loss `|delta - sum_j a_j grad f(z_j)|^2` by which training images are reconstructed: the same set
distils and reconstructs. The two losses are bound together by the split of `f_S` into its part in the
span of T and the rest,

    2 RKIP = (y_T - K_TS a_S)^T K_TT^-1 (y_T - K_TS a_S)  +  a_S^T (K_SS - K_ST K_TT^-1 K_TS) a_S

the first of which is KIP in another norm: `RKIP >= N KIP / lambda_max(K_TT)`.

Source: Nguyen, Chen and Lee, ICLR 2021 (KIP); Loo et al., ICLR 2024, arXiv 2302.01428 (RKIP).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Grams:
    """Kernels between the training images T (N of them, C outputs) and the few images S (M).

    Args:
        whole: K_TT (N, N).
        mixed: K_TS (N, M).
        few: K_SS (M, M).
    """

    whole: Tensor
    mixed: Tensor
    few: Tensor


def ridged(kernel: Tensor, ridge: float) -> Tensor:
    """Return `K + ridge tr(K) / n`, which the inverses use.

    Args:
        kernel: (n, n).
        ridge: share of the mean diagonal.
    """
    return kernel + ridge * kernel.diagonal().mean() * torch.eye(len(kernel), dtype=kernel.dtype)


def kip(grams: Grams, wanted: Tensor, duals: Tensor) -> Tensor:
    """Return the kernel-inducing-points loss, a scalar.

    Args:
        grams: the kernels.
        wanted: (N, C) targets of T.
        duals: (M, C) of S.
    """
    return (wanted - grams.mixed @ duals).square().sum(1).mean() / 2


def rkip(grams: Grams, known: Tensor, duals: Tensor) -> Tensor:
    """Return the reconstruction loss in the kernel's function space, a scalar.

    Args:
        grams: the kernels.
        known: (N, C) duals of T.
        duals: (M, C) of S.
    """
    own = (duals * (grams.few @ duals)).sum()
    shared = (known * (grams.mixed @ duals)).sum()
    return (own - 2 * shared + (known * (grams.whole @ known)).sum()) / 2


def parts(grams: Grams, wanted: Tensor, duals: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two terms of the split of `2 RKIP`: what KIP sees in the norm of `K_TT^-1`, and what it does not.

    Args:
        grams: the kernels; K_TT must not be singular.
        wanted: (N, C) targets of T, which `f_T` meets.
        duals: (M, C) of S.
    """
    error = wanted - grams.mixed @ duals
    seen = (error * torch.linalg.solve(grams.whole, error)).sum()
    apart = grams.few - grams.mixed.T @ torch.linalg.solve(grams.whole, grams.mixed)
    return seen, (duals * (apart @ duals)).sum()
