"""The page of one encrypted run: seconds, levels and noise, layer by layer, from the trace that it left."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from unmask.errors import BadInput
from unmask.report import form
from unmask.report.page import asset, environment
from unmask.storage import replace

FIELDS = {"name", "layer", "kind", "level", "seconds", "error", "deviation", "largest"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one layer took.

    Args:
        name: of the layer.
        steps: number of results.
        seconds: of all of them.
        share: of the slowest layer's seconds, in per cent.
        first: level of its first result.
        last: level of its last one.
        error: largest distance from the value without noise.
        largest: largest value.
        bootstraps: how many it holds.
    """

    name: str
    steps: int
    seconds: float
    share: float
    first: int
    last: int
    error: float
    largest: float
    bootstraps: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a figure over the steps.

    Args:
        label: what it shows.
        marks: (x, y) in per cent of the plot, with a title.
    """

    label: str
    marks: tuple[tuple[float, float, str], ...]


def read(path: Path) -> dict[str, Any]:
    """Return a trace that `unmask he trace` wrote.

    Args:
        path: its JSON file.

    Raises:
        BadInput: if it is missing or no trace.
    """
    remedy = "give the trace.json that unmask he trace writes"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("trace", str(path), f"cannot be read ({error})", remedy) from error
    points = found.get("points") if isinstance(found, dict) else None
    if not points or not all(isinstance(point, dict) and set(point) >= FIELDS for point in points):
        raise BadInput("trace", str(path), "holds no steps", remedy)
    return dict(found)


def layers(points: Sequence[dict[str, Any]]) -> tuple[Layer, ...]:
    """Return what each layer took, in the order of the run.

    Args:
        points: steps of a trace.
    """
    names = list(dict.fromkeys(point["layer"] for point in points))
    grouped = [[point for point in points if point["layer"] == name] for name in names]
    seconds = [sum(point["seconds"] for point in group) for group in grouped]
    slowest = max(seconds) or 1.0
    return tuple(
        Layer(
            name=name,
            steps=len(group),
            seconds=spent,
            share=100 * spent / slowest,
            first=group[0]["level"],
            last=group[-1]["level"],
            error=max(point["error"] for point in group),
            largest=max(point["largest"] for point in group),
            bootstraps=sum(point["kind"] == "bootstrap" for point in group),
        )
        for name, group, spent in zip(names, grouped, seconds, strict=True)
    )


def levels(points: Sequence[dict[str, Any]]) -> tuple[Line, int]:
    """Return the level after each step, and the top of the axis.

    Args:
        points: steps of a trace.
    """
    top = max(1, *(point["level"] for point in points))
    marks = [
        (_place(k, points), 100 * point["level"] / top, f"{point['layer']}, {point['kind']}: level {point['level']}")
        for k, point in enumerate(points)
    ]
    return Line(label="level", marks=tuple(marks)), top


def noise(points: Sequence[dict[str, Any]]) -> tuple[tuple[Line, ...], tuple[tuple[str, float], ...]]:
    """Return values, largest errors and their root mean squares on a logarithmic axis, and its ticks.

    Args:
        points: steps of a trace.
    """
    keys = {"largest": "largest value", "error": "largest error", "deviation": "root mean square of the error"}
    known = [point[key] for point in points for key in keys if point[key] > 0]
    low = math.floor(math.log10(min(known))) if known else -1
    high = max(math.ceil(math.log10(max(known))) if known else 0, low + 1)

    def height(value: float) -> float:
        return 100 * (math.log10(value) - low) / (high - low) if value > 0 else 0.0

    stride = math.ceil((high - low) / 6)
    ticks = tuple((f"1e{power}", 100 * (power - low) / (high - low)) for power in range(low, high + 1, stride))
    lines = tuple(
        Line(
            label=label,
            marks=tuple(
                (_place(k, points), height(p[key]), f"{p['layer']}, {p['kind']}: {label} {p[key]:.2g}")
                for k, p in enumerate(points)
            ),
        )
        for key, label in keys.items()
    )
    return lines, ticks


def sentence(trace: dict[str, Any]) -> str:
    """Return the first sentence of the page.

    Args:
        trace: see `read`.
    """
    points = trace["points"]
    total, worst = sum(point["seconds"] for point in points), points[-1]["error"]
    batch = trace.get("batch", 1)
    what = "One input" if batch == 1 else f"{form.spelled(batch).capitalize()} inputs"
    how = "simulated" if trace.get("backend") == "simulator" else "computed encrypted"
    return f"{what} {how} in {form.seconds(total)}; the answer is off by {worst:.1g} at most."


def render(trace: dict[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        trace: see `read`.
    """
    points = trace["points"]
    line, top = levels(points)
    lines, ticks = noise(points)
    return (
        environment()
        .get_template("trace.html.j2")
        .render(
            sentence=sentence(trace),
            backend=trace.get("backend", ""),
            parameters=trace.get("parameters", {}),
            batch=trace.get("batch", 1),
            points=points,
            layers=layers(points),
            levels=line,
            top=top,
            noise=lines,
            ticks=ticks,
            style=Markup(asset("page.css") + asset("figures.css")),
        )
    )


def write(trace: Path, out: Path) -> Path:
    """Write the page of a trace.

    Args:
        trace: its JSON file.
        out: the page.

    Raises:
        BadInput: if the trace cannot be read.
        StorageError: if the page cannot be written.
    """
    return replace(out, render(read(trace)))


def _place(index: int, points: Sequence[dict[str, Any]]) -> float:
    return 100 * index / max(1, len(points) - 1)
