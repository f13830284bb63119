"""Take a known column out of a mixture: what remains has more zeros."""

import torch
from torch import Tensor

WINDOW = 0.05
"""Share of the neurons that have to agree on how much of a known column a mixture holds."""


def unmixed(columns: Tensor, found: Tensor, tolerance: float) -> Tensor:
    """Return null vectors (r, P), each less the multiple of another one that leaves it the most zeros.

    Let m = s a + t b in the factor's columns, a known. Where a is open and b closed, `m_k / a_k = s`,
    whereas elsewhere the ratio differs from neuron to neuron. So the narrowest window over the sorted
    ratios gives s, and `m - s a` vanishes wherever b is closed. A column that is no mixture has fewer
    zeros after any subtraction and stays.

    Args:
        columns: (K, r) orthonormal.
        found: (r, P) of norm 1.
        tolerance: size below which an entry of a column counts as zero.

    Example:
        >>> q = torch.eye(4, 2, dtype=torch.float64)
        >>> unmixed(q, torch.eye(2, dtype=torch.float64), 1e-9).shape
        torch.Size([2, 2])
    """
    values = columns @ found
    zeros, width = (values.abs() < tolerance).sum(0), max(1, int(WINDOW * len(columns)))
    cleaned = found.clone()
    for at in range(found.shape[1]):
        mine = values[:, at : at + 1]
        shared = (values.abs() >= tolerance) & (mine.abs() >= tolerance)
        ratios = torch.where(shared, mine / values, torch.inf).sort(0).values
        if len(ratios) <= width:
            break
        spans = (ratios[width:] - ratios[:-width]).nan_to_num(torch.inf)
        first = spans.argmin(0, keepdim=True)
        shares = ratios.gather(0, first + width // 2)[0]
        shares = torch.where(shares.isfinite(), shares, 0.0)
        shares[at] = 0.0
        rests = cleaned[:, at : at + 1] - found * shares
        rests = rests / rests.norm(dim=0).clamp_min(1e-30)
        counts = ((columns @ rests).abs() < tolerance).sum(0)
        best = int(counts.argmax())
        if int(counts[best]) > int(zeros[at]) + width:
            cleaned[:, at] = rests[:, best]
    return cleaned
