"""The range guard: a polynomial outside its interval is worth nothing, so a network that leaves one is refused."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import chebyshev

from unmask.errors import BadInput
from unmask.poly.network import Network
from unmask.poly.polynomial import Array, Polynomial

BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Range:
    """What reached one polynomial.

    Args:
        name: of the intermediate, such as `0.attention.scores`.
        low: least value.
        high: largest value.
        interval: where the polynomial was fitted.
    """

    name: str
    low: float
    high: float
    interval: tuple[float, float]

    @property
    def used(self) -> float:
        """Farthest value from the interval's middle, over its half-width: above 1 is outside."""
        centre = sum(self.interval) / 2
        return max(abs(self.low - centre), abs(self.high - centre)) / (self.interval[1] - centre)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a network does on data.

    Args:
        logits: (batch, classes), exact.
        ranges: one for each polynomial.
        sizes: largest absolute value of each intermediate by name, and of the `input`.
    """

    logits: Array
    ranges: tuple[Range, ...]
    sizes: dict[str, float]


def measure(network: Network, x: Array) -> Measured:
    """Return logits and ranges on data, in float64.

    Args:
        network: the network.
        x: (batch, n, inputs).

    Raises:
        BadInput: if x holds NaN or infinity, or an intermediate becomes it; the layer is named.
    """
    if not len(x) or not np.all(np.isfinite(x)):
        raise BadInput("x", x.shape, "is empty, or holds NaN or infinity", "clean the data")
    polynomials = network.polynomials()
    lows, highs = dict.fromkeys(polynomials, np.inf), dict.fromkeys(polynomials, -np.inf)
    sizes = {"input": float(np.abs(x).max())}
    logits = []
    for start in range(0, len(x), BATCH):
        last = x[:1]
        for name, last in network.steps(x[start : start + BATCH]):
            size = float(np.abs(last).max())
            if not np.isfinite(size):
                raise BadInput(name, size, "is not finite", "the layer before it leaves its polynomial's interval")
            sizes[name] = max(sizes.get(name, 0.0), size)
            if name in polynomials:
                lows[name], highs[name] = min(lows[name], float(last.min())), max(highs[name], float(last.max()))
        logits.append(last)
    ranges = tuple(
        Range(name=name, low=lows[name], high=highs[name], interval=polynomial.interval)
        for name, polynomial in polynomials.items()
    )
    return Measured(logits=np.concatenate(logits), ranges=ranges, sizes=sizes)


def widened(network: Network, x: Array, *, margin: float = 1.2) -> Network:
    """Return the same network with each polynomial written on the interval that data reaches, with a margin.

    Only for polynomials that were trained in place: they stand for themselves and are as right outside of the old
    interval. The coefficients change, the polynomials do not; an error that was certified is dropped.

    Args:
        network: the network.
        x: (batch, n, inputs), not the data that `guard` is then asked about.
        margin: by how much each interval is wider than what was seen; none becomes narrower.

    Raises:
        BadInput: if x or an intermediate is not finite.
    """
    new = {}
    for found in measure(network, x).ranges:
        centre, half = (found.low + found.high) / 2, margin * (found.high - found.low) / 2
        interval = (min(found.interval[0], centre - half), max(found.interval[1], centre + half))
        new[found.name] = _moved(network.polynomials()[found.name], interval)
    blocks = []
    for index, block in enumerate(network.blocks):
        attention = replace(block.attention, activation=new[f"{index}.attention.scores"])
        feed = replace(block.feed_forward, activation=new[f"{index}.feed_forward.rise"])
        blocks.append(replace(block, attention=attention, feed_forward=feed))
    return replace(network, blocks=tuple(blocks))


def _moved(polynomial: Polynomial, interval: tuple[float, float]) -> Polynomial:
    low, high = interval
    degree = polynomial.degree
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    values = polynomial((low + high) / 2 + (high - low) / 2 * nodes)
    # Interpolation in d + 1 points is exact for degree d.
    found = 2 / (degree + 1) * chebyshev.chebvander(nodes, degree).T @ values
    found[0] /= 2
    return Polynomial(coefficients=tuple(map(float, found)), interval=interval, approximates=polynomial.approximates)


def guard(network: Network, x: Array, *, share: float = 1.0) -> Measured:
    """Return logits and ranges of a network that stays in its intervals on held-out data.

    Args:
        network: the network.
        x: (batch, n, inputs), data that no interval was chosen by.
        share: largest part of each half-interval that may be used; below 1 keeps a margin.

    Raises:
        BadInput: if a polynomial's input leaves its interval; layer, value and interval are named.
    """
    measured = measure(network, x)
    for found in measured.ranges:
        if found.used > share:
            centre = sum(found.interval) / 2
            value = found.low if centre - found.low > found.high - centre else found.high
            low, high = found.interval
            rule = f"leaves {share:.0%} of the interval [{low:g}, {high:g}] that its polynomial was fitted on"
            raise BadInput(found.name, round(value, 6), rule, "widen the interval, or train the range down")
    return measured
