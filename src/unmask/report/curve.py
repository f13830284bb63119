"""Privacy against utility: places of the marks; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One run.

    Args:
        x: distance from the left, in per cent of the plot.
        y: distance from the bottom, in per cent of the plot.
        text: what stands beside it.
        title: the numbers behind it.
        private: whether it has an epsilon.
        left: whether the text stands on the left, so that it stays inside.
    """

    x: float
    y: float
    text: str
    title: str
    private: bool
    left: bool


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The plot: utility to the right, leak upwards; down and to the right is better.

    Args:
        marks: one per run, in the order in which the line joins them: by epsilon, without one last.
        ticks: labels of the utility's axis and their places in per cent.
    """

    marks: tuple[Mark, ...]
    ticks: tuple[tuple[str, float], ...]


def curve(points: Sequence[tuple[str, float, float, float | None]]) -> Curve:
    """Return the marks of (label, utility, leak, epsilon or None) in a plot that begins at the axis's next tenth.

    Args:
        points: at least one.

    Example:
        >>> [mark.text for mark in curve([("plain", 0.8, 0.9, None), ("dp-sgd", 0.7, 0.1, 3.0)]).marks]
        ['epsilon 3', 'no epsilon']
    """
    low = max(-10, min(int(10 * min(utility, 1.0)) for _, utility, _, _ in points)) / 10
    low = min(low, 0.9)
    ordered = sorted(points, key=lambda point: float("inf") if point[3] is None else point[3])
    marks = []
    for label, utility, leak, epsilon in ordered:
        x = 100 * (utility - low) / (1 - low)
        marks.append(
            Mark(
                x=x,
                y=100 * leak,
                text="no epsilon" if epsilon is None else f"epsilon {epsilon:.3g}",
                title=f"{label}: utility {utility:.3f}, leak {leak:.2f}",
                private=epsilon is not None,
                left=x > 70,
            )
        )
    count = round((1 - low) * 10)
    stride = 1 if count <= 5 else 2
    ticks = tuple((f"{low + k / 10:.1f}", 100 * k / count) for k in range(0, count + 1, stride))
    return Curve(marks=tuple(marks), ticks=ticks)
