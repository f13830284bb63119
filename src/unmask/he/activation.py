"""A polynomial as what is left of it once its input's scale and its output's sign are folded into weights."""

from dataclasses import dataclass, field
from math import sqrt

from unmask.poly.polynomial import Polynomial


@dataclass(frozen=True, kw_only=True)
class Activation:
    """p(x) = sign (f(gain x + offset) + constant), where f is nothing, the square or a series on (-1, 1).

    Args:
        gain: factor on the input, for the weights before.
        offset: added to the input, for the bias before.
        sign: factor on the result, for the weights after.
        constant: added after a square.
        series: the rest, if its degree is above 2.
        squared: whether f is the square.
    """

    gain: float
    offset: float
    sign: float = field(default=1.0)
    constant: float = field(default=0.0)
    series: Polynomial | None = field(default=None)
    squared: bool = field(default=False)


def reduced(polynomial: Polynomial) -> Activation:
    """Return the cheapest form: degree 1 takes no level, degree 2 one, degree d ceil(log2(d + 1)).

    c x^2 + b x + a = s ((sqrt(|c|) x + b s / (2 sqrt(|c|)))^2 + a s - b^2 / (4 |c|)) with s the sign of c.
    """
    low, high = polynomial.interval
    coefficients = polynomial.coefficients
    while len(coefficients) > 1 and coefficients[-1] == 0:
        coefficients = coefficients[:-1]
    trimmed = Polynomial(coefficients=coefficients, interval=polynomial.interval)
    if len(coefficients) <= 2:
        constant, slope = [*map(float, trimmed.monomials()), 0.0][:2]
        return Activation(gain=slope, offset=constant)
    if len(coefficients) == 3:
        a, b, c = map(float, trimmed.monomials())
        sign, root = (1.0 if c > 0 else -1.0), sqrt(abs(c))
        offset = b * sign / (2 * root)
        return Activation(gain=root, offset=offset, sign=sign, constant=a * sign - offset**2, squared=True)
    rest = Polynomial(coefficients=coefficients, interval=(-1.0, 1.0))
    return Activation(gain=2 / (high - low), offset=-(low + high) / (high - low), series=rest)
