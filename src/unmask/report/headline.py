"""The answer in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from unmask.report import form, words
from unmask.report.cells import CellView, State
from unmask.report.kinds import TEXT, Kind
from unmask.report.rows import Row

CUT = "stopped after"
"""How the reason begins of an attack whose time was up."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The leak against the limit.

    Args:
        leaks: whether the leak lies above the limit.
        leak: highest leak of all rows, in [0, 1]: the mean of ROUGE-1 for texts, of SSIM for images.
        score: the name of that score.
        limit: the limit that the user set.
        where: the cell and the attack of the leak.
        missing: number of cells that were not measured.
    """

    leaks: bool
    leak: float
    score: str
    limit: float
    where: str
    missing: int


def worst(rows: Sequence[Row]) -> Row | None:
    """Return the row with the highest leak, or None if nothing was scored."""
    return max((row for row in rows if row.scores), key=lambda row: row.leak, default=None)


def leak(rows: Sequence[Row]) -> float:
    """Return the highest leak over cells and attacks, in [0, 1].

    Example:
        >>> leak(())
        0.0
    """
    row = worst(rows)
    return 0.0 if row is None else row.leak


def verdict(rows: Sequence[Row], cells: Sequence[CellView], limit: float | None) -> Verdict | None:
    """Return the verdict, or None if no limit was set.

    Args:
        rows: the measured rows.
        cells: the grid.
        limit: the leak that still passes, or None.
    """
    if limit is None:
        return None
    row = worst(rows)
    return Verdict(
        leaks=leak(rows) > limit,
        leak=leak(rows),
        score=TEXT.leak_name if row is None else row.kind.leak_name,
        limit=limit,
        where="" if row is None else f"{words.place(row.layer, row.component)}, {row.attack}",
        missing=sum(cell.state is State.MISSING for cell in cells),
    )


def sentence(cells: Sequence[CellView]) -> str:
    """Return the first sentence of the report.

    Args:
        cells: the grid.

    Example:
        >>> sentence(())
        'Nothing was measured.'
    """
    exact = [cell for cell in cells if cell.state is State.EXACT]
    measured = [cell for cell in cells if cell.best is not None]
    total, noun, secret = len(cells), _noun(cells), _kind(cells).noun
    away = f"the {secret} away {_kind(cells).wholly}"
    if len(exact) == total == 1:
        return f"The one {noun} seen, {_name(exact[0])}, gives {away}."
    if exact and len(exact) == total:
        return f"Each of the {total} {noun}s, seen alone, gives {away}."
    if len(exact) == 1:
        return f"One of {total} {noun}s, {_name(exact[0])}, gives {away}."
    if exact:
        return f"Any one of {len(exact)} of {total} {noun}s gives {away}."
    if any(cell.state is State.PART for cell in measured):
        top = max(measured, key=_leak)
        return f"No {noun} gives every {secret} away {_kind(cells).wholly}; the worst, {_name(top)}, gives part of it."
    if measured:
        cut = sum(_cut(cell) for cell in measured)
        told = f", but {cut} of {len(measured)} attacks were stopped before they ended" if cut else ""
        return f"No {noun} gave more of the {secret} away than a guess that saw nothing of it{told}."
    if cells and all(cell.state is State.ABSENT for cell in cells):
        return f"No {noun} that was seen carries the {secret}."
    return "Nothing was measured."


def details(cells: Sequence[CellView]) -> tuple[str, ...]:
    """Return the sentences that follow the first one: the rest of the cells, then the contrasts.

    Args:
        cells: the grid.
    """
    return tuple(
        text
        for text in (_effort(cells), _others(cells), _contrast(cells), _controls(cells), _unfinished(cells))
        if text
    )


def _others(cells: Sequence[CellView]) -> str:
    exact = any(cell.state is State.EXACT for cell in cells)
    part = [_leak(cell) for cell in cells if cell.state is State.PART]
    idle = [cell for cell in cells if cell.state is State.NOTHING]
    cut = sum(_cut(cell) for cell in idle)
    nothing = len(idle) - cut
    absent = sum(cell.state is State.ABSENT for cell in cells)
    clauses = []
    if part:
        low, high = form.score(min(part)), form.score(max(part))
        spread = low if low == high else f"{low} to {high}"
        more = " more" if exact else ""
        clauses.append(
            f"{form.spelled(len(part))}{more} give{_s(len(part))} part of it ({_kind(cells).leak_name} {spread})"
        )
    if nothing:
        clauses.append(f"{form.spelled(nothing)} give{_s(nothing)} no more than the controls get")
    if cut and (exact or part):  # otherwise the first sentence says it
        clauses.append(f"{form.spelled(cut)} {'was' if cut == 1 else 'were'} stopped before the attack ended")
    if absent:
        clauses.append(f"{form.spelled(absent)} provably do{'es' if absent == 1 else ''} not carry it")
    return _capital("; ".join(clauses)) + "." if clauses else ""


def _cut(cell: CellView) -> bool:
    return cell.best is not None and cell.best.reason.startswith(CUT)


def _effort(cells: Sequence[CellView]) -> str:
    rows = sorted((cell.best for cell in cells if cell.best is not None), key=lambda row: -row.n)
    if not rows:
        return ""
    shown = rows[0].trials + ("" if rows[-1].n == rows[0].n else " or fewer")
    return f"Each was attacked alone, on {shown}." if len(cells) > 1 else f"It was attacked on {shown}."


def _contrast(cells: Sequence[CellView]) -> str:
    both = [(cell.strongest, cell.baseline) for cell in cells if cell.strongest and cell.baseline]
    if not both:
        return ""
    ours, theirs = fmean(mine.leak for mine, _ in both), fmean(other.leak for _, other in both)
    ahead = sum(other.leak > mine.leak for mine, other in both)
    where = "In the one cell" if len(both) == 1 else f"Over the {form.spelled(len(both))} cells"
    text = (
        f"{where} where both ran, the published method ({both[0][1].attack}) reaches "
        f"{_kind(cells).leak_name} {form.score(theirs)}, "
        f"the strongest attack {form.score(ours)}"
    )
    return text + (f"; the published method is ahead in {ahead}." if ahead else ".")


def _controls(cells: Sequence[CellView]) -> str:
    best = [cell.best for cell in cells if cell.best is not None]
    kind = _kind(cells)
    null = [row.null[kind.leak] for row in best if kind.leak in row.null]
    trivial = [row.trivial[kind.leak] for row in best if kind.leak in row.trivial]
    clauses = []
    if null:
        clauses.append(f"the same attack on other {kind.noun}s' data (null control) gets {form.score(fmean(null))}")
    if trivial:
        clauses.append(f"a guess that saw nothing gets {form.score(fmean(trivial))}")
    return "For comparison, " + " and ".join(clauses) + "." if clauses else ""


def _unfinished(cells: Sequence[CellView]) -> str:
    missing = sum(cell.state is State.MISSING for cell in cells)
    if not missing:
        return ""
    return f"{_capital(form.spelled(missing))} of {len(cells)} cells {'is' if missing == 1 else 'are'} not measured."


def _noun(cells: Sequence[CellView]) -> str:
    joined = ["+" in cell.plan.component for cell in cells]
    single = cells[0].plan.noun if cells else "component"
    return single if not any(joined) else "combination" if all(joined) else "part"


def _kind(cells: Sequence[CellView]) -> Kind:
    return cells[0].kind if cells else TEXT


def _name(cell: CellView) -> str:
    return words.place(cell.plan.layer, cell.plan.component)


def _leak(cell: CellView) -> float:
    return 0.0 if cell.best is None else cell.best.leak


def _s(number: int) -> str:
    return "s" if number == 1 else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
