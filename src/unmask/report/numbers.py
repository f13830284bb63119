"""The numbers behind a cell, in words."""

from collections.abc import Mapping, Sequence

from unmask.report import form, words
from unmask.report.cells import CellView, State
from unmask.report.kinds import Kind
from unmask.report.rows import Row


def cell(view: CellView) -> str:
    """Return everything that is known about a cell, one line per attack and control."""
    plan = view.plan
    lines = [f"{words.layer(plan.layer)}, {words.component(plan.component)}"]
    if plan.parameters:
        lines[0] += f": {form.count(plan.parameters)} numbers, {form.percent(plan.share)} of the model"
    if view.absent:
        lines.append(f"Absent: {view.absent}")
    lines += [_attack(row) for row in (view.strongest, view.baseline) if row is not None]
    if view.best is not None:
        lines.append("Null control: " + scores(view.best.null, view.best.kind))
        lines.append("Trivial guess: " + scores(view.best.trivial, view.best.kind))
    elif not view.absent:
        lines.append("Not measured" + (f": {view.reason}" if view.reason else ""))
    return "\n".join(lines)


def reasons(cells: Sequence[CellView]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return every reason for an absent or unmeasured cell with the names of its cells.

    Args:
        cells: the grid.
    """
    groups: dict[str, list[str]] = {}
    for cell in cells:
        if cell.absent is not None:
            text = f"Absent: {cell.absent}"
        elif cell.state is State.MISSING:
            text = "Not measured" + (f": {cell.reason}" if cell.reason else "")
        else:
            continue
        groups.setdefault(text, []).append(words.place(cell.plan.layer, cell.plan.component))
    # An unfinished run can lack hundreds of cells; the map shows which.
    return tuple(
        (text, tuple(names) if len(names) <= 8 else (f"{len(names)} cells",)) for text, names in groups.items()
    )


def scores(values: Mapping[str, float | None] | Mapping[str, float], kind: Kind) -> str:
    """Return all scores in words.

    Args:
        values: metric name to value in [0, 1].
        kind: what was private.
    """
    return ", ".join(f"{label} {form.score(values.get(key))}" for key, label in kind.metrics.items())


def _measures(row: Row) -> str:
    return "".join(f", {row.kind.measures[key]} {form.decibels(value)}" for key, value in row.measures.items())


def _attack(row: Row) -> str:
    means = scores({key: row.mean(key) for key in row.kind.metrics}, row.kind)
    text = f"{row.attack}: {means}{_measures(row)}; {form.seconds(row.seconds)}; "
    text += f"{form.percent(row.certified)} certified, largest residual {form.certificate(row.certificate)}"
    return text + f"; {row.trials}"
