"""What attention probabilities alone give away.

**What P determines.** `P = softmax(S)` by rows and the soft-max forgets a constant in each row and nothing else: if
`softmax(s) = softmax(t)`, then `s_j - t_j = log sum exp s - log sum exp t` for all j. So P and the row-centred scores
`log P - rowmean(log P) = S - rowmean(S)` determine each other, and `X^T W X` is known up to `c 1^T`.

**What can never be told apart.** If `R^T W R = W`, then X and R X have the same P. For a generic W (in general
position, neither symmetric nor antisymmetric) these R form a group of dimension floor(d/2); for a symmetric positive
definite W it is the orthogonal group of W, of dimension d(d-1)/2. Anything in the kernels of both W and W^T can be
added to a token unseen, as can a common shift u of all keys' tokens with `W^T u = 0`, which only moves rows.

**A causal mask** hides `S_ij` for j > i. Each row still determines its own scores up to a constant; row 0 says
nothing, row i gives i numbers, n(n-1)/2 in all. The constants are no longer tied to one another by symmetry.

**Symmetric W.** Then S is symmetric, so that `c_i - c_j` is the difference of two known numbers and S is known up to
one constant: `S = S_0 + c 1 1^T`. If n > d, S has rank d and `S_0` has rank d + 1 in general, which fixes c: with 1 in
the range of `S_0`, the rank of `S_0 + c 1 1^T` falls exactly at `c = -1 / (1^T S_0^+ 1)` (matrix determinant lemma on
the range). For positive definite W, `W^(1/2) X` is then a factor of the Gram matrix S, known up to an orthogonal map,
and X up to the group above. That is all that exists to be recovered.

**With a vocabulary** the group is gone: see `vocabulary.py`.
"""

import torch
from torch import Tensor

from unmask.errors import BadInput

SLACK = 1e-6  # how far rows may be from summing to one, beside their own precision


def centred_scores(p: Tensor) -> Tensor:
    """Return `S - rowmean(S)` from `P = softmax(S)` (... x n x n), with NaN where P is zero.

    Means are taken over the entries that are not zero, so that a mask or an underflow leaves the others right up to a
    constant in each row.

    Raises:
        BadInput: if `p` holds no probabilities by rows.

    Example:
        >>> centred_scores(torch.softmax(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), -1))
        tensor([[-1.,  1.],
                [ 0.,  0.]])
    """
    check_probabilities(p)
    logs = torch.where(p > 0, p, torch.ones_like(p)).log()
    mean = logs.sum(-1, keepdim=True) / (p > 0).sum(-1, keepdim=True)
    return torch.where(p > 0, logs - mean, torch.full_like(p, torch.nan))


def gram_scores(p: Tensor, rank: int) -> Tensor:
    """Return all of `S = X^T W X` (n x n) from P, for symmetric W of a rank below n.

    Raises:
        BadInput: if `p` holds no probabilities, has zeros, or too few tokens for the rank.
    """
    n = p.shape[-1]
    if n <= rank:
        raise BadInput("p", tuple(p.shape), f"has not more than {rank} tokens", "one constant of S stays unknown")
    known = centred_scores(p)
    if bool(known.isnan().any()):
        raise BadInput("p", tuple(p.shape), "has zeros", "a mask or an underflow hides scores")
    # S_ij = known_ij + c_i and S_ij = S_ji: the mean over j gives c_i up to a common constant.
    constants = (known.mT - known).mean(-1, keepdim=True)
    start = known + constants
    start = (start + start.mT) / 2
    values, vectors = torch.linalg.eigh(start)
    kept = values.abs().argsort(descending=True)[: rank + 1]
    ones = vectors[:, kept].sum(0)
    return start - 1 / (ones.square() / values[kept]).sum()


def gram_tokens(p: Tensor, W: Tensor) -> Tensor:
    """Return one X (d x n) with attention P, for symmetric positive definite W and more tokens than dimensions.

    The true tokens are `R X` for an R with `R^T W R = W`; which R cannot be known.

    Raises:
        BadInput: if W is not symmetric positive definite or P does not fit.
    """
    d = W.shape[0]
    if W.ndim != 2 or W.shape[1] != d or not torch.allclose(W, W.mT):
        raise BadInput("W", tuple(W.shape), "is not symmetric", "only symmetric W has a Gram factor")
    sizes, axes = torch.linalg.eigh(W)
    if not float(sizes[0]) > 0:
        raise BadInput("W", float(sizes[0]), "is not positive definite", "its least eigenvalue has to be above zero")
    values, vectors = torch.linalg.eigh(gram_scores(p, d))
    factor = values[-d:].clamp_min(0).sqrt()[:, None] * vectors[:, -d:].mT
    return axes @ ((axes.mT / sizes.sqrt()[:, None]) @ (axes @ factor))


def check_probabilities(p: Tensor) -> None:
    """Raise unless the rows of `p` (... x n x n) are distributions.

    Raises:
        BadInput: if they are not.
    """
    if p.ndim < 2 or p.shape[-1] != p.shape[-2] or not p.is_floating_point():
        raise BadInput("p", tuple(p.shape), "is no square real matrix", "give attention probabilities")
    slack = SLACK + 64 * torch.finfo(p.dtype).eps * p.shape[-1]
    sums = p.sum(-1)
    if not (bool(torch.isfinite(p).all()) and bool((p >= 0).all()) and bool(((sums - 1).abs() < slack).all())):
        raise BadInput("p", tuple(p.shape), "has rows that are no distributions", "give probabilities after soft-max")
