"""The grid of layers and components with its controls beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from unmask.report import form, numbers, palette, words
from unmask.report.cells import CellView
from unmask.report.rows import Row
from unmask.report.words import METRICS

SHOWN: Mapping[str, str] = {**METRICS, "certified": "Certified"}
"""What the switch above the heat map offers."""


@dataclass(frozen=True, kw_only=True)
class Shade:
    """One value of one cell.

    Args:
        metric: key of `SHOWN`.
        text: what is printed.
        step: colour step, or None if there is no value.
    """

    metric: str
    text: str
    step: int | None


@dataclass(frozen=True, kw_only=True)
class Square:
    """One cell of the table.

    Args:
        shades: one value per metric of `SHOWN`.
        title: all numbers of the cell, one line each.
        anchor: identifier of the cell's recovered texts, or empty.
        state: `exact`, `part`, `nothing`, `absent`, `missing`, or empty for means and controls.
    """

    shades: tuple[Shade, ...]
    title: str
    anchor: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One layer of the table.

    Args:
        label: the layer, spoken.
        squares: one per component; None where the model has no such part.
        strip: the controls of this layer.
    """

    label: str
    squares: tuple[Square | None, ...]
    strip: tuple[Square, ...]


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The table.

    Args:
        columns: spoken names of the components.
        strip: spoken names of the controls.
        lines: one per layer, then the mean over layers.
    """

    columns: tuple[str, ...]
    strip: tuple[str, ...]
    lines: tuple[Line, ...]


def heat_map(cells: Sequence[CellView]) -> HeatMap:
    """Arrange the grid, layers down and components across, with the controls of each layer beside it.

    Args:
        cells: the grid, layer by layer.
    """
    components = _components(cells)
    layers = list(dict.fromkeys(cell.plan.layer for cell in cells))
    compared = any(cell.baseline is not None for cell in cells)
    found = {(cell.plan.layer, cell.plan.component): cell for cell in cells}
    lines = []
    for layer in layers:
        row = [found.get((layer, component)) for component in components]
        lines.append(
            Line(
                label=words.layer(layer),
                squares=tuple(None if cell is None else _square(cell) for cell in row),
                strip=_strip([cell for cell in row if cell is not None], compared),
            )
        )
    if len(layers) > 1:
        columns = [[cell for cell in cells if cell.plan.component == component] for component in components]
        means = tuple(_average([cell.best for cell in column if cell.best], "mean over layers") for column in columns)
        lines.append(Line(label="All", squares=means, strip=_strip(cells, compared)))
    strip = (*(("Published method",) if compared else ()), "Null control", "Trivial guess")
    return HeatMap(columns=tuple(map(words.component, components)), strip=strip, lines=tuple(lines))


def css() -> str:
    """Return the rules by which the switch works without a script; on paper only the choice is named."""
    rules = []
    for key in SHOWN:
        label = f"#m-{key}:checked~.labels [for=m-{key}]"
        rules.append(f"#m-{key}:checked~.scroll .m-{key}{{display:flex}}")
        rules.append(f"{label}{{background:var(--ink);border-color:var(--ink);color:var(--page)}}")
        rules.append(f"@media print{{{label}{{display:block}}}}")
    return "".join(rules)


def _components(cells: Sequence[CellView]) -> list[str]:
    order = list(words.COMPONENTS)
    seen = dict.fromkeys(cell.plan.component for cell in cells)
    return sorted(seen, key=lambda name: order.index(name) if name in order else len(order))


def _square(cell: CellView) -> Square:
    return Square(shades=_shades(cell.best), title=numbers.cell(cell), anchor=cell.anchor, state=str(cell.state))


def _shades(row: Row | None) -> tuple[Shade, ...]:
    values = {key: None if row is None else row.mean(key) for key in METRICS}
    return _shade({**values, "certified": None if row is None else row.certified})


def _shade(values: Mapping[str, float | None]) -> tuple[Shade, ...]:
    pairs = ((key, values.get(key)) for key in SHOWN)
    return tuple(
        Shade(metric=key, text=form.score(value), step=None if value is None else palette.step(value))
        for key, value in pairs
    )


def _strip(cells: Sequence[CellView], compared: bool) -> tuple[Square, ...]:
    best = [cell.best for cell in cells if cell.best is not None]
    controls = (
        _control([row.null for row in best], "Null control"),
        _control([row.trivial for row in best], "Trivial guess"),
    )
    if not compared:
        return controls
    baseline = _average([cell.baseline for cell in cells if cell.baseline is not None], "published method")
    return (baseline, *controls)


def _average(rows: Sequence[Row], what: str) -> Square:
    values: dict[str, float | None] = {}
    for key in METRICS:
        known = [row.scores[key].value for row in rows if key in row.scores]
        values[key] = fmean(known) if known else None
    certified = [row.certified for row in rows if row.certified is not None]
    values["certified"] = fmean(certified) if certified else None
    head = f"{what[:1].upper()}{what[1:]}: "
    text = head + (
        f"{numbers.scores(values)}; mean of {form.plural(len(rows), 'cell')}" if rows else "did not run here"
    )
    return Square(shades=_shade(values), title=text, anchor="", state="")


def _control(scores: Sequence[Mapping[str, float]], what: str) -> Square:
    values: dict[str, float | None] = {}
    for key in METRICS:
        known = [row[key] for row in scores if key in row]
        values[key] = fmean(known) if known else None
    return Square(shades=_shade(values), title=f"{what}: {numbers.scores(values)}", anchor="", state="")
