"""A polynomial in the place of a function, fitted to where the inputs are."""

from unmask.errors import BadInput
from unmask.poly.conversion.ranges import POSITIVE, Range
from unmask.poly.fits import weighted
from unmask.poly.polynomial import Polynomial

SPREAD, SPREAD_AT_POLES = 0.02, 0.5
"""Share of the weight that is spread over the interval: near a pole the rare small input matters most."""


def fit(function: str, degree: int, seen: Range, *, margin: float = 1.2) -> Polynomial:
    """Return the least-squares polynomial of a function under the measured distribution of its inputs.

    Args:
        function: one of `FUNCTIONS`. One with a pole is fitted for its relative error.
        degree: of the polynomial.
        seen: what enters the site; its range, widened, is the interval.
        margin: factor on the length of the interval.

    Raises:
        BadInput: if the function has a pole and the range touches zero.
    """
    interval = seen.widened(margin)
    pole = function in POSITIVE
    if pole and interval[0] <= 0:
        raise BadInput("range", interval, f"reaches zero, where {function} has its pole", "raise the floor")
    samples = seen.sample.double().numpy()
    return weighted(function, interval, degree, samples, floor=SPREAD_AT_POLES if pole else SPREAD, relative=pole)
