"""Checks that every mechanism makes before any work: numbers in range, and bounds that are public."""

import math
import warnings

from unmask.errors import BadInput


def positive(name: str, value: float) -> float:
    """Return the value if it is a finite number above zero.

    Raises:
        BadInput: if it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise BadInput(name, value, "is not a finite number above 0", "give one")
    return float(value)


def at_least_one(name: str, value: int) -> int:
    """Return the value if it is 1 or more.

    Raises:
        BadInput: if it is not.
    """
    if value < 1:
        raise BadInput(name, value, "is below 1", "give 1 or more")
    return int(value)


def public_bound(name: str, value: float | str | None) -> float:
    """Return a bound that was declared as a number; a bound read off the private data voids the guarantee.

    Raises:
        BadInput: if it is None, a word such as `auto`, or no finite number above zero.
    """
    if value is None or isinstance(value, str):
        remedy = "declare a number that was fixed without looking at the private data"
        raise BadInput(name, value, "would have to come from the private data, which voids the guarantee", remedy)
    return positive(name, value)


def budget(epsilon: float, delta: float, *, records: int | None = None) -> None:
    """Check (epsilon, delta), and warn where delta is too large for the number of records.

    A mechanism that publishes each record whole with probability delta satisfies (0, delta), so with
    delta >= 1/N it may be expected to publish one of N.

    Args:
        epsilon: above 0 and finite.
        delta: in (0, 1).
        records: N, if known.

    Raises:
        BadInput: if one is out of range.
    """
    positive("epsilon", epsilon)
    probability("delta", delta)
    if records is not None and delta >= 1 / records:
        warnings.warn(
            f"delta {delta:g} is not below 1/N = {1 / records:g}: publishing one of the {records} records whole "
            "would satisfy it; take a smaller delta",
            stacklevel=2,
        )


def probability(name: str, value: float) -> float:
    """Return the value if it lies strictly between 0 and 1.

    Raises:
        BadInput: if it does not.
    """
    if not 0 < value < 1:
        raise BadInput(name, value, "is not between 0 and 1", "give a probability above 0 and below 1")
    return float(value)


def finite(name: str, largest: float) -> None:
    """Check the largest absolute entry of a private array.

    Raises:
        BadInput: if it is NaN or infinite; its place is not named, for that would be a release too.
    """
    if not math.isfinite(largest):
        raise BadInput(name, "array", "holds NaN or infinity", "clean the data: noise does not hide an infinite value")
