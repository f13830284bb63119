"""A polynomial in the place of a function, fitted to where the inputs are."""

import numpy as np
import torch
from numpy.polynomial import chebyshev

from unmask.errors import BadInput
from unmask.poly.conversion.ranges import POSITIVE, Range
from unmask.poly.layers.activation import FUNCTIONS
from unmask.poly.polynomial import Polynomial

GRID = 4001


def fit(function: str, degree: int, seen: Range, *, margin: float = 1.2, uniform: float = 0.02) -> Polynomial:
    """Return the least-squares polynomial of a function under the measured distribution of its inputs.

    Args:
        function: one of `FUNCTIONS`.
        degree: of the polynomial.
        seen: what enters the site; its range, widened, is the interval.
        margin: factor on the length of the interval.
        uniform: share of the weight that is spread evenly over the interval, so that the polynomial is
            bounded where inputs are rare. Functions with a pole are fitted for their relative error.

    Raises:
        BadInput: if the function has a pole and the range touches zero.
    """
    low, high = seen.widened(margin)
    if function in POSITIVE and low <= 0:
        raise BadInput("range", (low, high), f"reaches zero, where {function} has its pole", "raise the floor")
    grid = np.linspace(low, high, GRID)
    counted, _ = np.histogram(seen.sample.double().numpy(), bins=GRID, range=(low, high))
    weight = (1.0 - uniform) * counted / max(counted.sum(), 1) + uniform / GRID
    wanted = FUNCTIONS[function](torch.from_numpy(grid)).numpy()
    t = (2.0 * grid - low - high) / (high - low)
    if function in POSITIVE:
        # A small input is the rare one and matters most: half of the weight is spread, denser at the ends.
        spread = 1.0 / np.sqrt(1.0 - t**2 + 1e-3)
        weight = (0.5 * weight + 0.5 * spread / spread.sum()) / wanted**2
    coefficients = chebyshev.chebfit(t, wanted, degree, w=np.sqrt(weight))
    error = float(np.abs(chebyshev.chebval(t, coefficients) - wanted).max())
    values = tuple(float(value) for value in coefficients)
    return Polynomial(coefficients=values, interval=(low, high), error=error, approximates=function)
