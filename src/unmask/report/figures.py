"""Positions of the marks of every figure; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from unmask.report import form, words
from unmask.report.cells import CellView
from unmask.report.rows import Row


@dataclass(frozen=True, kw_only=True)
class Point:
    """One mark.

    Args:
        x: distance from the left, in per cent of the plot.
        y: distance from the bottom, in per cent of the plot.
        low: lower end of the interval, in per cent of the plot.
        high: upper end of the interval, in per cent of the plot.
        title: the numbers behind it.
    """

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Depth:
    """A score by layer for one component.

    Args:
        component: the component, spoken.
        ticks: labels of the layers and their places in per cent.
        strongest: one mark per measured layer.
        baseline: one mark per layer that the published method ran on.
        null: one mark per layer for the null control.
    """

    component: str
    ticks: tuple[tuple[str, float], ...]
    strongest: tuple[Point, ...]
    baseline: tuple[Point, ...]
    null: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Track:
    """One line of a figure with marks along one axis.

    Args:
        label: what the line is about.
        strongest: places of the strongest attack in per cent, with titles.
        baseline: places of the published method in per cent, with titles.
        null: place of the null control in per cent, or None.
        trivial: place of the trivial guess in per cent, or None.
        text: the numbers in words.
    """

    label: str
    strongest: tuple[tuple[float, str], ...]
    baseline: tuple[tuple[float, str], ...]
    null: float | None = None
    trivial: float | None = None
    text: str


def depth(cells: Sequence[CellView]) -> tuple[Depth, ...]:
    """Return the share that came back whole by layer, one panel per component that occurs in two layers or more.

    Args:
        cells: the grid.
    """
    layers = sorted({cell.plan.layer for cell in cells if cell.plan.layer is not None})
    if len(layers) < 2:
        return ()
    place = {layer: 100 * index / (len(layers) - 1) for index, layer in enumerate(layers)}
    stride = math.ceil(len(layers) / 8)
    ticks = tuple((str(layer), place[layer]) for layer in layers[::stride])
    components = words.order(cell.plan.component for cell in cells)
    panels = []
    for component in components:
        column = [(place[c.plan.layer], c) for c in cells if c.plan.component == component and c.plan.layer is not None]
        if len(column) < 2:
            continue
        panels.append(
            Depth(
                component=words.component(component),
                ticks=ticks,
                strongest=tuple(_point(x, cell.strongest) for x, cell in column if cell.strongest),
                baseline=tuple(_point(x, cell.baseline) for x, cell in column if cell.baseline),
                null=tuple(
                    _flat(x, cell.best.null[cell.kind.exact])
                    for x, cell in column
                    if cell.best and cell.kind.exact in cell.best.null
                ),
            )
        )
    return tuple(panels)


def contrast(cells: Sequence[CellView]) -> tuple[Track, ...]:
    """Return the leak of both methods and the controls for every cell in which both ran.

    Args:
        cells: the grid.
    """
    both = [(cell, cell.strongest, cell.baseline) for cell in cells]
    return tuple(_pair(cell, mine, other) for cell, mine, other in both if mine is not None and other is not None)


def times(cells: Sequence[CellView]) -> tuple[tuple[Track, ...], tuple[tuple[str, float], ...]]:
    """Return seconds per secret on a logarithmic axis, one line per component, and the axis ticks.

    Args:
        cells: the grid.
    """
    rows = [row for cell in cells for row in (cell.strongest, cell.baseline) if row is not None]
    known = [row.seconds for row in rows if row.seconds]
    if not known:
        return (), ()
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    high = max(high, low + 1)
    ticks = tuple((f"{10.0**power:g} s", 100 * (power - low) / (high - low)) for power in range(low, high + 1))

    def marks(rows: Sequence[Row | None]) -> tuple[tuple[float, str], ...]:
        return tuple(
            (
                100 * (math.log10(row.seconds) - low) / (high - low),
                f"{words.layer(row.layer)}: {form.seconds(row.seconds)}",
            )
            for row in rows
            if row is not None and row.seconds
        )

    tracks = []
    for component in words.order(cell.plan.component for cell in cells):
        column = [cell for cell in cells if cell.plan.component == component]
        mine = [cell.strongest.seconds for cell in column if cell.strongest and cell.strongest.seconds]
        tracks.append(
            Track(
                label=words.component(component),
                strongest=marks([cell.strongest for cell in column]),
                baseline=marks([cell.baseline for cell in column]),
                text=f"median {form.seconds(median(mine))}" if mine else "",
            )
        )
    return tuple(tracks), ticks


def _pair(cell: CellView, mine: Row, other: Row) -> Track:
    ours, theirs = mine.leak, other.leak
    null, trivial = mine.null.get(mine.kind.leak), mine.trivial.get(mine.kind.leak)
    speed = other.seconds / mine.seconds if mine.seconds and other.seconds else 0.0
    return Track(
        label=words.place(cell.plan.layer, cell.plan.component).capitalize().replace("ffn", "FFN"),
        strongest=((100 * ours, f"{mine.attack}: {form.score(ours)}"),),
        baseline=((100 * theirs, f"{other.attack}: {form.score(theirs)}"),),
        null=None if null is None else 100 * null,
        trivial=None if trivial is None else 100 * trivial,
        text=f"{form.score(ours)} against {form.score(theirs)}"
        + (f", {speed:.{0 if speed >= 10 else 1}f}× as fast" if speed else ""),
    )


def _point(x: float, row: Row) -> Point:
    found = row.scores.get(row.kind.exact)
    value, low, high = (0.0, 0.0, 0.0) if found is None else (found.value, found.low, found.high)
    title = f"{words.layer(row.layer)}, {row.attack}: {form.score(value)}, 95 % interval {low:.2f} to {high:.2f}"
    return Point(x=x, y=100 * value, low=100 * low, high=100 * high, title=title)


def _flat(x: float, value: float) -> Point:
    return Point(x=x, y=100 * value, low=100 * value, high=100 * value, title=f"Null control: {form.score(value)}")
