"""The grid of layers and components with its controls beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from unmask.report import form, kinds, numbers, palette, words
from unmask.report.cells import CellView
from unmask.report.kinds import TEXT, Kind
from unmask.report.rows import Row

NARROW = 10
"""From more columns than this on they are drawn narrower."""


@dataclass(frozen=True, kw_only=True)
class Shade:
    """One value of one cell.

    Args:
        metric: key of `shown`.
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
        shades: one value per metric of `shown`.
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
        width: width of the table in rem below which it scrolls.
    """

    columns: tuple[str, ...]
    strip: tuple[str, ...]
    lines: tuple[Line, ...]
    width: float


def shown(kind: Kind) -> Mapping[str, str]:
    """Return what the switch above the heat map offers.

    Args:
        kind: what was private.
    """
    return {**kind.metrics, **kind.measures, "certified": "Certified"}


def heat_map(cells: Sequence[CellView]) -> HeatMap:
    """Arrange the grid, layers down and components across, with the controls of each layer beside it.

    Args:
        cells: the grid, layer by layer.
    """
    components = words.order(cell.plan.component for cell in cells)
    kind = cells[0].kind if cells else TEXT
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
                strip=_strip([cell for cell in row if cell is not None], compared, kind),
            )
        )
    if len(layers) > 1:
        columns = [[cell for cell in cells if cell.plan.component == component] for component in components]
        means = tuple(
            _average([cell.best for cell in column if cell.best], "mean over layers", kind) for column in columns
        )
        lines.append(Line(label="All", squares=means, strip=_strip(cells, compared, kind)))
    strip = (*(("Published method",) if compared else ()), "Null control", "Trivial guess")
    count = len(components) + len(strip)
    return HeatMap(
        columns=tuple(map(words.component, components)),
        strip=strip,
        lines=tuple(lines),
        width=5 + count * (4.75 if count <= NARROW else 3.6),
    )


def css(kind: Kind) -> str:
    """Return the rules by which the switch works without a script; on paper only the choice is named.

    Args:
        kind: what was private.
    """
    rules = []
    for key in shown(kind):
        label = f"#m-{key}:checked~.labels [for=m-{key}]"
        rules.append(f"#m-{key}:checked~.scroll .m-{key}{{display:flex}}")
        rules.append(f"{label}{{background:var(--ink);border-color:var(--ink);color:var(--page)}}")
        rules.append(f"@media print{{{label}{{display:block}}}}")
    return "".join(rules)


def _square(cell: CellView) -> Square:
    return Square(
        shades=_shades(cell.best, cell.kind), title=numbers.cell(cell), anchor=cell.anchor, state=str(cell.state)
    )


def _shades(row: Row | None, kind: Kind) -> tuple[Shade, ...]:
    values = {key: None if row is None else row.mean(key) for key in shown(kind)}
    return _shade({**values, "certified": None if row is None else row.certified}, kind)


def _shade(values: Mapping[str, float | None], kind: Kind) -> tuple[Shade, ...]:
    found = []
    for key in shown(kind):
        number = values.get(key)
        depth = kinds.value(number, key)
        text = form.score(number) if key not in kind.measures or number is None else f"{number:.0f}"
        found.append(Shade(metric=key, text=text, step=None if depth is None else palette.step(depth)))
    return tuple(found)


def _strip(cells: Sequence[CellView], compared: bool, kind: Kind) -> tuple[Square, ...]:
    best = [cell.best for cell in cells if cell.best is not None]
    controls = (
        _control([row.null for row in best], "Null control", kind),
        _control([row.trivial for row in best], "Trivial guess", kind),
    )
    if not compared:
        return controls
    baseline = _average([cell.baseline for cell in cells if cell.baseline is not None], "published method", kind)
    return (baseline, *controls)


def _average(rows: Sequence[Row], what: str, kind: Kind) -> Square:
    values: dict[str, float | None] = {}
    for key in (*kind.metrics, *kind.measures):
        known = [value for row in rows if (value := row.mean(key)) is not None]
        values[key] = fmean(known) if known else None
    certified = [row.certified for row in rows if row.certified is not None]
    values["certified"] = fmean(certified) if certified else None
    head = f"{what[:1].upper()}{what[1:]}: "
    text = head + (
        f"{numbers.scores(values, kind)}; mean of {form.plural(len(rows), 'cell')}" if rows else "did not run here"
    )
    return Square(shades=_shade(values, kind), title=text, anchor="", state="")


def _control(scores: Sequence[Mapping[str, float]], what: str, kind: Kind) -> Square:
    values: dict[str, float | None] = {}
    for key in kind.metrics:
        known = [row[key] for row in scores if key in row]
        values[key] = fmean(known) if known else None
    return Square(shades=_shade(values, kind), title=f"{what}: {numbers.scores(values, kind)}", anchor="", state="")
