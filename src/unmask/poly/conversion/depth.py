"""Levels of a converted model, and degrees for its polynomials within a budget of them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly import budget as joint
from unmask.poly.conversion.importance import measured_sites
from unmask.poly.conversion.levels import trace
from unmask.poly.conversion.ranges import Range, sites
from unmask.poly.layers.transformer import Transformer
from unmask.poly.program import least_depth

ATTENTION, FEED_FORWARD = 6, 2
"""Levels of a layer beside its polynomials: tokens moved, maps, scores, mask, mixing, output; rise and fall."""

LADDER = (2, 3, 7, 15, 31, 63)
"""The highest degree of each depth."""

POLES = (127, 255, 511)
"""As well for reciprocals and inverse roots: of what a soft-max divides by, the largest is thousands of the least."""


def fixed_levels(model: nn.Module, x: Tensor) -> int:
    """Return the levels of everything but the polynomials.

    Of a transformer that folds into a plain network it is what the circuit of that network takes; of any other
    module what it computes, operation by operation.

    Args:
        model: with sites.
        x: an input or a few, as the model takes them.

    Raises:
        BadInput: if an operation beside the sites is no polynomial, with its module path.
    """
    if isinstance(model, Transformer) and model.form.norm == "batch" and model.form.attention == "scaled":
        outer = 1 + isinstance(model.embedding, nn.Linear)
        return model.form.layers * (ATTENTION + FEED_FORWARD) + outer
    return trace(model, x, dict.fromkeys(sites(model), 0))


def depth(model: nn.Module, degrees: Mapping[str, int], x: Tensor) -> int:
    """Return the levels of a model with polynomials of these degrees.

    Args:
        model: with sites, all of them on the longest path.
        degrees: of each site, by its module path.
        x: an input or a few.
    """
    return fixed_levels(model, x) + sum(least_depth(degrees[name]) for name in sites(model))


def least(model: nn.Module, x: Tensor) -> int:
    """Return the levels that no choice of degrees goes below: a quadratic at each site.

    Args:
        model: with sites.
        x: an input or a few.
    """
    return depth(model, dict.fromkeys(sites(model), LADDER[0]), x)


def check(model: nn.Module, x: Tensor, budget: int) -> None:
    """Refuse a budget that cannot be met, with the least that can.

    Args:
        model: with sites.
        x: an input or a few.
        budget: levels.

    Raises:
        BadInput: if it is too low.
    """
    lowest = least(model, x)
    if budget < lowest:
        rule = f"is below {lowest}, the least for {len(sites(model))} polynomials of degree 2"
        raise BadInput("depth budget", budget, rule, f"allow {lowest} levels or take a model of fewer layers")


def choose(model: nn.Module, seen: Mapping[str, Range], budget: int, x: Tensor, *, margin: float = 1.2) -> joint.Choice:
    """Return the polynomials of least predicted error of the logits within a budget, all sites together.

    Args:
        model: its sites still compute their functions.
        seen: what enters each site on held-out inputs.
        budget: levels from the client's ciphertext to the logits; bootstraps in between do not count.
        x: held-out inputs, on which it is measured how much each site matters.
        margin: of the intervals.

    Raises:
        BadInput: if the budget cannot be met, with the least that can.
    """
    check(model, x[:2], budget)
    found = measured_sites(model, x, seen, margin=margin)
    return joint.choose(found, budget - fixed_levels(model, x[:2]), degrees=LADDER, poles=POLES)


def degrees_of(model: nn.Module) -> dict[str, int]:
    """Return the degree of the polynomial in each site.

    Args:
        model: with polynomials in place.

    Raises:
        BadInput: if a site has none.
    """
    found = {}
    for path, site in sites(model).items():
        if not isinstance(site.coefficients, torch.Tensor):
            raise BadInput("model", path, "has no polynomial in its place", "run the stage substitute")
        found[path] = len(site.coefficients) - 1
    return found
