"""How much an error at each site of a torch model moves its logits, measured on held-out inputs."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from unmask.poly.budget import Site
from unmask.poly.conversion.intercept import evaluating
from unmask.poly.conversion.ranges import Range, sites
from unmask.rng import generator

ENTRIES, DIRECTIONS = 20_000_000, 4
"""Gradients kept at most, all sites together; directions that many logits are projected on."""


def measured_sites(model: nn.Module, x: Tensor, seen: Mapping[str, Range], *, margin: float = 1.2) -> tuple[Site, ...]:
    """Return the sites with intervals, inputs, and the gradient of each logit by what each site gives.

    To first order an error e_u at a site's units moves a logit by sum_u g_u e_u. Of more than a few logits random
    projections with unit variance are taken, whose mean square is the mean over the logits.

    Args:
        model: its sites still compute their functions.
        x: held-out inputs; as many are used as memory allows.
        seen: the range of each site over all of them.
        margin: factor from a range to an interval.
    """
    with evaluating(model):
        single, _ = _kept(model, x[:1])
        units = sum(given.numel() for given, _ in single.values())
        logits = model(x[:1])[0].numel()
        outputs = logits if logits <= DIRECTIONS else DIRECTIONS
        count = max(1, min(len(x), ENTRIES // max(units * outputs, 1)))
        kept, result = _kept(model, x[:count])
        gradients: dict[str, list[Tensor]] = {name: [] for name in kept}
        for direction in _directions(result, outputs):
            found = torch.autograd.grad(
                (result * direction).sum(), [out for _, out in kept.values()], retain_graph=True, allow_unused=True
            )
            for (name, (_, out)), gradient in zip(kept.items(), found, strict=True):
                gradients[name].append(torch.zeros_like(out) if gradient is None else gradient)
    made = []
    for name, (given, _) in kept.items():
        slopes = torch.stack(gradients[name]).double().flatten(2).numpy()
        made.append(
            Site(
                name=name,
                function=sites(model)[name].function,
                interval=seen[name].widened(margin),
                sensitivity=float(np.sqrt((slopes**2).sum() / (slopes.shape[0] * slopes.shape[1]))),
                samples=given.double().flatten(1).clamp(seen[name].low, seen[name].high).numpy(),
                gradients=slopes,
            )
        )
    return tuple(made)


def _kept(model: nn.Module, x: Tensor) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def keeper(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def keep(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
            out = out if out.requires_grad else out.detach().requires_grad_()
            found[name] = (given[0].detach(), out)
            return out

        return keep

    hooks = [site.register_forward_hook(keeper(name)) for name, site in sites(model).items()]
    try:
        with torch.enable_grad():
            result = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found, result


def _directions(result: Tensor, count: int) -> list[Tensor]:
    shape = result.shape[1:]
    if shape.numel() == count:
        return [each.view(shape) for each in torch.eye(count).to(result)]
    draw = generator(0, "directions")
    signs = torch.randint(2, (count, *shape), generator=draw).to(result) * 2 - 1
    return list(signs / shape.numel() ** 0.5)
