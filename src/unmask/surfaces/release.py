"""What is done to tensors before they are seen."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unmask.surface import Release


def norm(tensors: Mapping[str, Tensor]) -> float:
    """Return the Euclidean norm of all entries of all tensors, `sqrt(sum_k ||g_k||^2)`.

    Args:
        tensors: any tensors by name.
    """
    return float(sum(tensor.double().square().sum() for tensor in tensors.values())) ** 0.5


def perturb(tensors: Mapping[str, Tensor], release: Release, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the tensors as released, again in float32.

    The steps are those of a client that defends itself and then compresses, in this order:

    1. clip: `g <- g min(1, clip / ||g||)`, with the norm over all tensors;
    2. noise: `g <- g + noise ||g|| z / sqrt(N)` with `z` standard normal in each of the N entries and
       the norm after clipping, so that the noise's own norm is `noise ||g||` on average;
    3. prune: of all entries together, the share `prune` that is smallest in magnitude becomes zero;
    4. round to `dtype`; int8 has one scale per tensor, the largest magnitude over 127.

    Args:
        tensors: what would be seen without a release.
        release: what to do.
        generator: randomness of the noise.
    """
    found = {name: tensor.detach().float() for name, tensor in tensors.items()}
    if release.clip is not None:
        factor = min(1.0, release.clip / max(norm(found), torch.finfo(torch.float64).tiny))
        found = {name: tensor * factor for name, tensor in found.items()}
    if release.noise:
        entries = sum(tensor.numel() for tensor in found.values())
        deviation = release.noise * norm(found) / entries**0.5
        found = {name: t + deviation * torch.randn(t.shape, generator=generator) for name, t in found.items()}
    if release.prune:
        found = _pruned(found, release.prune)
    return {name: rounded(tensor, release.dtype) for name, tensor in found.items()}


def rounded(tensor: Tensor, dtype: str) -> Tensor:
    """Return a tensor rounded to a number format, again in float32.

    Args:
        tensor: any tensor.
        dtype: float32, float16, bfloat16, or int8 with one scale, the largest magnitude over 127.
    """
    if dtype != "int8":
        narrow: torch.dtype = getattr(torch, dtype)
        return tensor.to(narrow).float()
    scale = float(tensor.abs().max()) / 127
    return (tensor / scale).round() * scale if scale else tensor


def _pruned(tensors: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
    drop = int(share * flat.numel())
    if drop:
        # By rank and not by a threshold: of equal entries exactly as many go as asked for.
        flat[flat.abs().argsort(stable=True)[:drop]] = 0
    parts = flat.split([tensor.numel() for tensor in tensors.values()])
    return {name: part.view(tensors[name].shape) for name, part in zip(tensors, parts, strict=True)}
