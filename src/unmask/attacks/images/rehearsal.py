"""Where to begin: a linear reading of the picture, learned on public pictures that went through the public model."""

import torch
from torch import Tensor

from unmask.attacks.images.target import Target
from unmask.vision import Images

MOST = 3000
"""Pictures that take part: the system has as many equations, and its cost grows with their cube."""
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Ridges that are compared, in shares of the pictures' mean squared activation."""
AT_ONCE = 128
"""Pictures in one forward pass."""


def linear_reading(target: Target, examples: Images) -> Tensor:
    """Return the picture (1, channels, height, width) that a ridge regression on public pictures reads.

    With A (N, m) the examples' activations and X (N, p) their pixels, both centred, and a the centred activations
    that were seen, the reading is `x0 + a^T A^T (A A^T + r I)^{-1} X`: the dual form, for there are more
    numbers seen than examples. The ridge r is the one whose leave-one-out error `||alpha_i / (K^{-1})_{ii}||^2`,
    summed over the examples, is least. Noise of known size adds its energy to r, as it would to every example's
    own activations.

    Args:
        target: what was seen.
        examples: public pictures of the model's shape.

    Source: Golub, Heath and Wahba, "Generalized cross-validation", 1979, for the closed form of the error.
    """
    pixels = examples.pixels[:MOST]
    with torch.no_grad():
        # Replay minus seen, so that what was seen stands at the origin.
        away = torch.cat([target.residuals(part) for part in pixels.split(AT_ONCE)])
    middle, flat = away.mean(0), pixels.flatten(1)
    features, centre = away - middle, flat.mean(0)
    kernel, wanted = features @ features.T, flat - centre
    scale = kernel.diagonal().mean().clamp_min(1e-12)
    least, best = float("inf"), torch.zeros_like(wanted)
    for ridge in RIDGES:
        system = kernel.clone()
        system.diagonal().add_(ridge * scale + target.noise**2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        dual = inverse @ wanted
        error = float((dual / inverse.diagonal()[:, None]).square().sum())
        if error < least:
            least, best = error, dual
    reading = centre - (features @ middle) @ best
    return reading.clamp(0, 1).view(1, *pixels.shape[1:])
