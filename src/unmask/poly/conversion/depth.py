"""Levels of a converted transformer, and degrees for its polynomials within a budget of them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from unmask.errors import BadInput
from unmask.poly.conversion.fit import fit
from unmask.poly.conversion.ranges import Range, sites
from unmask.poly.layers.activation import FUNCTIONS
from unmask.poly.layers.transformer import Transformer
from unmask.poly.program import least_depth

ATTENTION, FEED_FORWARD = 6, 2
"""Levels of a layer beside its polynomials: tokens moved, maps, scores, mask, mixing, output; rise and fall."""

LADDER = (2, 3, 7, 15, 31, 63)
"""The highest degree of each depth."""


def fixed_levels(model: nn.Module) -> int:
    """Return the levels of everything but the polynomials: the layers, the embedding if encrypted, and the head.

    Args:
        model: the transformer.

    Raises:
        BadInput: if its norms or its attention do not fold, so that this count would be wrong.
    """
    if not isinstance(model, Transformer) or model.form.norm != "batch" or model.form.attention != "scaled":
        rule = "has norms or attention whose levels are not counted"
        remedy = "leave the depth budget out, or convert to batch norms and scaled attention"
        raise BadInput("model", type(model).__name__, rule, remedy)
    outer = 1 + isinstance(model.embedding, nn.Linear)
    return model.form.layers * (ATTENTION + FEED_FORWARD) + outer


def depth(model: nn.Module, degrees: Mapping[str, int]) -> int:
    """Return the levels of a model with polynomials of these degrees.

    Args:
        model: the transformer.
        degrees: of each site, by its module path.
    """
    return fixed_levels(model) + sum(least_depth(degrees[name]) for name in sites(model))


def choose(model: nn.Module, seen: Mapping[str, Range], budget: int) -> dict[str, int]:
    """Return degrees within a budget: a level goes where it takes away most of the measured error.

    Every polynomial starts with one level. The error of a fit is its root mean square over what was measured,
    so that steps of different sites compare; the greedy choice is best if errors fall ever slower with levels.

    Args:
        model: the transformer.
        seen: what enters each site.
        budget: levels of a fresh ciphertext.

    Raises:
        BadInput: if the budget cannot be met, with the least that can.
    """
    least = fixed_levels(model) + len(sites(model))
    if budget < least:
        rule = f"is below {least}, the least for {len(sites(model))} polynomials of degree 2"
        raise BadInput("depth budget", budget, rule, f"allow {least} levels or take a model of fewer layers")
    errors = {
        path: [_error(site.function, degree, seen[path]) for degree in LADDER] for path, site in sites(model).items()
    }
    rung = dict.fromkeys(errors, 0)
    for _ in range(budget - least):
        gains = {path: all_[rung[path]] - min(all_[rung[path] :]) for path, all_ in errors.items()}
        best = max(gains, key=lambda path: gains[path])
        if gains[best] <= 0:
            break
        rung[best] += 1
    return {path: LADDER[at] for path, at in rung.items()}


def _error(function: str, degree: int, seen: Range) -> float:
    wanted = FUNCTIONS[function](seen.sample.double()).numpy()
    return float(np.sqrt(np.mean((fit(function, degree, seen)(seen.sample.double().numpy()) - wanted) ** 2)))


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
