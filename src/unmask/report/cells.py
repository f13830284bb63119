"""The planned grid joined with what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from unmask.report.folder import Planned
from unmask.report.kinds import TEXT, Kind
from unmask.report.rows import Row


class State(StrEnum):
    """What a cell turned out to be.

    `EXACT`: every secret came back whole.
    `PART`: more came back than the controls get.
    `NOTHING`: no more came back than the controls get.
    `ABSENT`: the information is provably not there.
    `MISSING`: not measured.
    """

    EXACT = "exact"
    PART = "part"
    NOTHING = "nothing"
    ABSENT = "absent"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One cell of the grid with its rows.

    Args:
        plan: which part of the model it is.
        strongest: the row of the strongest attack, or None if it was not measured.
        baseline: the row of the published method, or None if it was not measured.
        absent: why the information is provably not there, or None.
        reason: why nothing was measured, or empty.
        kind: what was private.
    """

    plan: Planned
    strongest: Row | None
    baseline: Row | None
    absent: str | None
    reason: str
    kind: Kind = field(default=TEXT)

    @property
    def best(self) -> Row | None:
        """The row of the strongest attack that ran here."""
        return self.strongest or self.baseline

    @property
    def anchor(self) -> str:
        """The cell's identifier in the page."""
        where = "x" if self.plan.layer is None else self.plan.layer
        return f"cell-{where}-" + "".join(c if c.isalnum() else "-" for c in self.plan.component)

    @property
    def state(self) -> State:
        """What the cell turned out to be; a measurement outweighs a claim of absence."""
        row = self.best
        if row is not None and row.exact == 1:
            return State.EXACT
        if self.absent is not None:
            return State.ABSENT
        if row is None:
            return State.MISSING
        control = max(row.null.get(row.kind.leak, 0.0), row.trivial.get(row.kind.leak, 0.0))
        return State.PART if row.leak > control else State.NOTHING


def cells(grid: Sequence[Planned], rows: Sequence[Row]) -> tuple[CellView, ...]:
    """Join the grid with the rows, layer by layer, what lies outside the layers last.

    Where several attacks of one role ran in a cell, the one with the highest leak stands for
    it: a cell is as leaky as the best attack on it.

    Args:
        grid: the planned cells.
        rows: the measured rows.
    """
    found: dict[tuple[int | None, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.layer, row.component), []).append(row)
    ordered = sorted(grid, key=lambda plan: (plan.layer is None, plan.layer or 0))
    kind = next((row.kind for row in rows if row.scores), rows[0].kind if rows else TEXT)
    return tuple(_view(plan, found.get((plan.layer, plan.component), []), kind) for plan in ordered)


def _view(plan: Planned, rows: list[Row], kind: Kind) -> CellView:
    strongest = _best([row for row in rows if row.role != "baseline"])
    claimed = [row.absent for row in rows if row.role != "baseline"]
    return CellView(
        plan=plan,
        strongest=strongest,
        baseline=_best([row for row in rows if row.role == "baseline"]),
        absent=plan.absent or (claimed[0] if claimed and all(claimed) else None),
        reason=next((row.reason for row in rows if row.reason), ""),
        kind=kind,
    )


def _best(rows: list[Row]) -> Row | None:
    return max((row for row in rows if row.scores), key=lambda row: row.leak, default=None)
