"""Which inputs leave a polynomial's interval, where nothing is known of its value: the guard of a torch model."""

import torch
from torch import Tensor, nn

from unmask.poly.conversion.intercept import evaluating
from unmask.poly.conversion.ranges import watching


@torch.no_grad()
def farthest(model: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return how far each input goes at its worst site, and the farthest of all of them at each site.

    Distances are |x - middle| over half the interval: above 1 is outside. Infinity stands for what is no number.

    Args:
        model: with polynomials in place.
        x: (B, ...) inputs as the model takes them.

    Returns:
        (B,) and by the module path of each site.
    """
    worst, by_site = torch.zeros(len(x)), {}
    with evaluating(model), watching(model) as seen:
        model(x)
    for path, (site, value) in seen.items():
        if site.interval is None:
            continue
        low, high = site.interval.tolist()
        away = (value.float().flatten(1) - 0.5 * (low + high)).abs().mul(2.0 / (high - low)).nan_to_num(torch.inf)
        worst = worst.maximum(away.amax(1))
        by_site[path] = float(away.max())
    return worst, by_site
