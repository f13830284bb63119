"""Numbers as a reader sees them."""

import math

MISSING = "\N{EN DASH}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score(value: float | None) -> str:
    """Return a score in [0, 1] with two decimals.

    Only a true one is shown as `1.00` and only a true zero as `0.00`, because "exact" must
    never be the work of rounding.

    Example:
        >>> score(0.999), score(1.0), score(0.001), score(None)
        ('0.99', '1.00', '0.01', '–')
    """
    if value is None:
        return MISSING
    if 0 < value < 1:
        return f"{min(max(value, 0.01), 0.99):.2f}"
    return f"{value:.2f}"


def seconds(value: float | None) -> str:
    """Return a duration with about two significant digits; the argument is in seconds.

    Example:
        >>> seconds(0.034), seconds(3.21), seconds(75.2), seconds(1500.0)
        ('0.034 s', '3.2 s', '75 s', '25 min')
    """
    if value is None:
        return MISSING
    if value >= 600:
        return f"{value / 60:.0f} min"
    if value >= 10:
        return f"{value:.0f} s"
    return f"{value:.1f} s" if value >= 1 else f"{value:.2g} s"


def decibels(value: float | None) -> str:
    """Return a ratio in decibels.

    Example:
        >>> decibels(61.73).split(), decibels(None)
        (['61.7', 'dB'], '–')
    """
    return MISSING if value is None else f"{value:.1f}\N{NO-BREAK SPACE}dB"


def certificate(value: float | None) -> str:
    """Return a relative residual as a power of ten.

    Example:
        >>> certificate(3.2e-7), certificate(0.0), certificate(0.25), certificate(None)
        ('3.2×10⁻⁷', '0', '0.25', '–')
    """
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if 0.01 <= value < 1000 or not math.isfinite(value):
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def percent(value: float | None) -> str:
    """Return a share in [0, 1] as a percentage.

    Example:
        >>> percent(0.0054).split(), percent(1.0).split()
        (['0.54', '%'], ['100', '%'])
    """
    if value is None:
        return MISSING
    return f"{100 * value:.3g}\N{NO-BREAK SPACE}%"


def count(value: int) -> str:
    """Return a whole number with thousands set apart.

    Example:
        >>> count(147456)
        '147,456'
    """
    return f"{value:,}"


def plural(number: int, noun: str) -> str:
    """Return a number and its noun.

    Example:
        >>> plural(1, "text"), plural(4, "text")
        ('1 text', '4 texts')
    """
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def spelled(number: int) -> str:
    """Return a number as a word up to nine, as digits above.

    Example:
        >>> spelled(2), spelled(33)
        ('two', '33')
    """
    small = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return small[number] if 0 <= number < len(small) else count(number)
