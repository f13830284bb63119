"""Which degree each site gets: the least predicted output error within a budget of levels.

A site whose gradients were measured adds the mean of (sum_u g_u (p(x_u) - f(x_u)))^2 over inputs and outputs to the
squared output error: first order, with the errors of one site's units, which are one function and so not
independent, summed as they are. Without gradients it adds (s e)^2, s its sensitivity and e the fit's error. Errors of
different sites are taken as independent. The sum is then least within a number of levels by dynamic programming over
sites and levels, which is exact: both the error and the levels add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import TypedDict

import numpy as np

from unmask.errors import BadInput
from unmask.poly.fits import minimax, weighted
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.program import least_depth, programs
from unmask.poly.targets import Interval, target

DEGREES = (2, 3, 4, 7, 15, 31, 63)
"""By default the least depths, and within one the highest degree."""


EXACT = 1e-6
"""Relative error below which no higher degree is tried at a pole."""


class _Weights(TypedDict, total=False):
    floor: float
    relative: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """A place where a polynomial goes.

    Args:
        name: such as `0.feed_forward.rise`.
        function: what it takes the place of.
        interval: where its input lies, with margin.
        sensitivity: change of the output, root mean square, by an error of one at this site, root mean square.
        samples: inputs that were measured; the error is then theirs, root mean square, else the largest.
        gradients: (outputs, *shape of the samples), of each output by the polynomial's value there. The samples
            are then (batch, ...), whole inputs.
    """

    name: str
    function: str
    interval: Interval
    sensitivity: float
    samples: Array | None = field(default=None)
    gradients: Array | None = field(default=None)

    def contribution(self, fit: Polynomial) -> float:
        """Return the root mean square output error that a fit at this site leads to.

        Args:
            fit: in the place of the function.
        """
        if self.samples is None:
            return self.sensitivity * fit.error
        errors = fit(self.samples) - target(self.function)(self.samples)
        if self.gradients is None:
            return self.sensitivity * float(np.sqrt(np.mean(errors**2)))
        moved = (self.gradients * errors).reshape(len(self.gradients), len(errors), -1).sum(axis=-1)
        return float(np.sqrt(np.mean(moved**2)))

    def __post_init__(self) -> None:
        if not (np.isfinite(self.sensitivity) and self.sensitivity >= 0):
            raise BadInput("sensitivity", self.sensitivity, f"of {self.name} is negative or not finite", "measure it")
        if self.gradients is not None and (
            self.samples is None or self.gradients.shape[1:] != self.samples.shape or self.samples.ndim < 2
        ):
            shape = self.gradients.shape
            raise BadInput("gradients", shape, f"of {self.name} do not fit its samples", "give (outputs, batch, ...)")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What each site got.

    Args:
        polynomials: site to polynomial.
        depth: levels of all together.
        error: predicted root mean square error of the output.
    """

    polynomials: dict[str, Polynomial]
    depth: int
    error: float


def choose(
    sites: Sequence[Site], budget: int, *, degrees: Sequence[int] = DEGREES, poles: Sequence[int] = ()
) -> Choice:
    """Return the polynomials of least predicted output error within a number of levels.

    Args:
        sites: one after another on the longest path.
        budget: levels for their polynomials together.
        degrees: that are tried at each.
        poles: that are tried as well at functions with a pole, whose intervals may be many times their lower end.

    Raises:
        BadInput: if there is no site, two share a name, or the budget is too small; the least is named.
    """
    names = [site.name for site in sites]
    if not sites or len(set(names)) != len(names):
        raise BadInput("sites", names, "are missing or share a name", "give each its own")
    options = [_options(site, degrees, poles) for site in sites]
    least = sum(min(depth for depth, _, _ in each) for each in options)
    if budget < least:
        rule = f"is below {least}, the least for {len(sites)} sites with these degrees"
        raise BadInput("depth budget", budget, rule, "allow as many levels, or give lower degrees")
    # best[l]: least squared error with l levels, and how.
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ()), *[(inf, ())] * budget]
    for each in options:
        after: list[tuple[float, tuple[int, ...]]] = [(inf, ())] * (budget + 1)
        for used, (error, path) in enumerate(best):
            if error == inf:
                continue
            for index, (depth, square, _) in enumerate(each):
                if used + depth <= budget and error + square < after[used + depth][0]:
                    after[used + depth] = (error + square, (*path, index))
        best = after
    error, path = min(best)
    picked = [each[index] for each, index in zip(options, path, strict=True)]
    return Choice(
        polynomials={name: polynomial for name, (_, _, polynomial) in zip(names, picked, strict=True)},
        depth=sum(depth for depth, _, _ in picked),
        error=sqrt(error),
    )


def _pole(function: str) -> bool:
    return function.startswith("inverse")


def _weights(function: str) -> _Weights:
    # By a pole the rare small input matters most.
    return {"floor": 0.5, "relative": True} if _pole(function) else {}


def _options(site: Site, degrees: Sequence[int], poles: Sequence[int]) -> list[tuple[int, float, Polynomial]]:
    found = [_option(site, degree) for degree in degrees]
    if _pole(site.function):
        least = float(target(site.function)(np.array([site.interval[1]]))[0])
        for degree in poles:
            if found[-1][2].error < EXACT * least:
                break
            found.append(_option(site, degree))
    return found


def _option(site: Site, degree: int) -> tuple[int, float, Polynomial]:
    fit = (
        minimax(site.function, site.interval, degree)
        if site.samples is None
        else weighted(site.function, site.interval, degree, site.samples, **_weights(site.function))
    )
    depth = programs(fit)[0].depth
    if _pole(site.function):  # no symmetry: last coefficients are nothing by rounding, and may grow in training
        depth = max(depth, least_depth(fit.degree))
    return depth, site.contribution(fit) ** 2, fit
