"""Which degree each site gets: the least predicted output error within a budget of levels.

A site with sensitivity s and a fit of error e(d) there adds (s e(d))^2 to the squared output error, errors of
different sites taken as independent. The sum is least within a number of levels by dynamic programming over sites
and levels, which is exact: both the error and the levels add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

import numpy as np

from unmask.errors import BadInput
from unmask.poly.fits import minimax, weighted
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.program import programs
from unmask.poly.targets import Interval, target

DEGREES = (2, 3, 4, 7, 15, 31, 63)
"""By default the least depths, and within one the highest degree."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """A place where a polynomial goes.

    Args:
        name: such as `0.feed_forward.rise`.
        function: what it takes the place of.
        interval: where its input lies, with margin.
        sensitivity: change of the output, root mean square, by an error of one at this site, root mean square.
        samples: inputs that were measured; the error is then theirs, root mean square, else the largest.
    """

    name: str
    function: str
    interval: Interval
    sensitivity: float
    samples: Array | None = field(default=None)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.sensitivity) and self.sensitivity >= 0):
            raise BadInput("sensitivity", self.sensitivity, f"of {self.name} is negative or not finite", "measure it")


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


def choose(sites: Sequence[Site], budget: int, *, degrees: Sequence[int] = DEGREES) -> Choice:
    """Return the polynomials of least predicted output error within a number of levels.

    Args:
        sites: one after another on the longest path.
        budget: levels for their polynomials together.
        degrees: that are tried at each.

    Raises:
        BadInput: if there is no site, two share a name, or the budget is too small; the least is named.
    """
    names = [site.name for site in sites]
    if not sites or len(set(names)) != len(names):
        raise BadInput("sites", names, "are missing or share a name", "give each its own")
    options = [_options(site, degrees) for site in sites]
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


def _options(site: Site, degrees: Sequence[int]) -> list[tuple[int, float, Polynomial]]:
    found = []
    for degree in degrees:
        if site.samples is None:
            fit = minimax(site.function, site.interval, degree)
            size = fit.error
        else:
            fit = weighted(site.function, site.interval, degree, site.samples)
            size = float(np.sqrt(np.mean((fit(site.samples) - target(site.function)(site.samples)) ** 2)))
        found.append((programs(fit)[0].depth, (site.sensitivity * size) ** 2, fit))
    return found
