"""Slow, obvious twins of the approximation room."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import linprog


def best_uniform(function, interval, degree, points=1200):
    """Least largest error on a dense set of points, as a linear programme in plain powers of t."""
    low, high = interval
    t = np.cos(np.linspace(0, np.pi, points))
    x = (low + high) / 2 + (high - low) / 2 * t
    powers = np.vander(t, degree + 1)
    ones = np.ones((points, 1))
    upper = np.block([[powers, -ones], [-powers, -ones]])
    values = function(x)
    solved = linprog(
        [0.0] * (degree + 1) + [1.0],
        A_ub=upper,
        b_ub=np.concatenate([values, -values]),
        bounds=[(None, None)] * (degree + 1) + [(0, None)],
        method="highs",
    )
    return solved.fun


def largest_error(polynomial, function, points=200_001):
    """Largest error on very many evenly spread points."""
    x = np.linspace(*polynomial.interval, points)
    return float(np.abs(function(x) - polynomial(x)).max())


@dataclass
class Plan:
    """Fewest bootstraps by trying every subset of places, one ciphertext at a time."""

    levels: int
    refreshed: int

    def fewest(self, chain):
        """Chain: (levels taken, forks, value's levels, joins, early, mains, skip's levels) for each stage."""
        best = None
        for choice in product((0, 1), repeat=3 * len(chain)):
            taken = sum((chain[place // 3][5] if place % 3 == 0 else 1) for place, bit in enumerate(choice) if bit)
            if (best is None or taken < best) and self.works(chain, choice):
                best = taken
        return best

    def works(self, chain, choice):
        held = {"main": self.levels}
        for place, (taken, forks, value, joins, early, _, skip) in enumerate(chain):
            for name, bit in zip(("main", "value", "skip"), choice[3 * place : 3 * place + 3], strict=True):
                if bit and name not in held:
                    return False
                if bit:
                    held[name] = self.refreshed
            for name in forks:
                held[name] = held["main"] - (value if name == "value" else 0)
            if skip:
                held["skip"] -= skip
            if early:
                held["main"] = min(held["main"], held.pop(joins))
            held["main"] -= taken
            if joins and not early:
                held["main"] = min(held["main"], held.pop(joins))
            if min(held.values()) < 0:
                return False
        return True
