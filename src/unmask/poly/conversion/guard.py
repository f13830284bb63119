"""Which inputs leave a polynomial's interval, where nothing is known of its value: the guard of a torch model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unmask.poly.conversion.intercept import evaluating
from unmask.poly.conversion.ranges import watching


@dataclass(frozen=True, kw_only=True, eq=False)
class Guarded:
    """What a model with polynomials does on some inputs.

    Distances are |x - middle| over half of the interval: above 1 is outside. Infinity stands for what is no number.

    Args:
        logits: (B, ...).
        farthest: (B,), the largest distance of each input over all sites.
        by_site: the largest distance at each site, by its module path.
    """

    logits: Tensor
    farthest: Tensor
    by_site: dict[str, float]


@torch.no_grad()
def guarded(model: nn.Module, x: Tensor) -> Guarded:
    """Return logits, and how far each input goes at its worst site.

    Args:
        model: with polynomials in place; it is put into evaluation for this.
        x: (B, ...) inputs as the model takes them.
    """
    worst, by_site = torch.zeros(len(x)), {}
    with evaluating(model), watching(model) as seen:
        logits = model(x)
    for path, (site, value) in seen.items():
        if site.interval is None:
            continue
        low, high = site.interval.tolist()
        away = (value.float() - 0.5 * (low + high)).abs().mul(2.0 / (high - low)).nan_to_num(torch.inf)
        worst = worst.maximum(away.flatten(1).amax(1))
        by_site[path] = float(away.max())
    return Guarded(logits=logits, farthest=worst, by_site=by_site)
