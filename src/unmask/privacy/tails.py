"""Logarithms of small probabilities, and their differences, where the probabilities themselves underflow."""

import math

from scipy.special import gammainc, gammaincc, gammaln, log_ndtr

TINY = 1e-290
"""Below this SciPy's incomplete gamma functions lose digits or are zero."""


def log_chi2_sf(x: float, degrees: int) -> float:
    """Return `ln Pr[chi^2_k > x]`.

    Where it underflows, `Q(a, y) = e^-y y^a / Gamma(a) / (y+1-a- 1(1-a)/(y+3-a- 2(2-a)/...))`,
    a = k/2 and y = x/2, by Lentz's method; it converges fast because y is far above a there.
    """
    if x <= 0:
        return 0.0
    a, y = degrees / 2, x / 2
    upper = float(gammaincc(a, y))
    return math.log(upper) if upper > TINY else a * math.log(y) - y - float(gammaln(a)) - math.log(_fraction(a, y))


def log_chi2_cdf(x: float, degrees: int) -> float:
    """Return `ln Pr[chi^2_k <= x]`.

    Where it underflows, `P(a, y) = e^-y y^a / Gamma(a+1) (1 + y/(a+1) + y^2/((a+1)(a+2)) + ...)`.
    """
    if x <= 0:
        return -math.inf
    a, y = degrees / 2, x / 2
    lower = float(gammainc(a, y))
    if lower > TINY:
        return math.log(lower)
    total, term, n = 1.0, 1.0, a
    while term > 1e-17 * total:
        n += 1
        term *= y / n
        total += term
    return a * math.log(y) - y - float(gammaln(a + 1)) + math.log(total)


def _fraction(a: float, y: float) -> float:
    b = y + 1 - a
    value = c = b
    d = 0.0
    for n in range(1, 10_000):
        step = -n * (n - a)
        b += 2
        d = 1 / (b + step * d)
        c = b + step / c
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def log_normal_cdf(x: float) -> float:
    """Return `ln Phi(x)`."""
    return float(log_ndtr(x))


def difference(log_first: float, log_second: float) -> float:
    """Return `e^a - e^b` for logarithms a and b, and 0 where b is larger or both vanish."""
    if log_first == -math.inf or log_second >= log_first:
        return 0.0
    return math.exp(log_first) * -math.expm1(log_second - log_first)
