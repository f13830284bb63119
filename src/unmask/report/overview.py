"""The attacks of a run side by side, and the settings they ran with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from unmask.report.folder import Run
from unmask.report.rows import Row, name, role


@dataclass(frozen=True, kw_only=True)
class Overall:
    """One attack over all cells in which it ran, each cell counted once.

    Args:
        attack: the attack's name.
        role: `strongest` or `baseline`.
        cells: number of cells.
        records: number of scored records.
        skipped: number of records in which it did not apply.
        scores: metric name to the mean over cells.
        null: metric name to the mean of the null control over cells.
        trivial: metric name to the mean of the trivial guess over cells.
        certified: mean over cells of the share with a certificate, or None.
        seconds: median over cells of the mean time in seconds, or None.
        measures: measure to its mean over cells.
    """

    attack: str
    role: str
    cells: int
    records: int
    skipped: int
    scores: Mapping[str, float]
    null: Mapping[str, float]
    trivial: Mapping[str, float]
    certified: float | None
    seconds: float | None
    measures: Mapping[str, float]


def attacks(rows: Sequence[Row]) -> tuple[Overall, ...]:
    """Return one line per attack.

    Args:
        rows: the measured rows.

    Example:
        >>> attacks(())
        ()
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.attack, row.role), []).append(row)
    return tuple(_overall(attack, part, group) for (attack, part), group in groups.items())


def settings(run: Run) -> tuple[tuple[str, str], ...]:
    """Return what the run was set to as pairs of a name and a value in words.

    Args:
        run: the run.
    """
    pairs = {f"surface {key}": value for key, value in run.surface.items()}
    pairs |= dict(run.settings)
    for record in run.records:
        who = f"{name(record)} ({role(record)})"
        chosen = {key: value for key, value in record.attack.items() if key not in ("name", "role")}
        if chosen:
            pairs.setdefault(who, chosen)
    return tuple((key, _spoken(value)) for key, value in pairs.items())


def _spoken(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_spoken(part)}" for key, part in value.items())
    return json.dumps(value, ensure_ascii=False, default=str)


def _overall(attack: str, part: str, rows: list[Row]) -> Overall:
    certified = [row.certified for row in rows if row.certified is not None]
    times = [row.seconds for row in rows if row.seconds is not None]
    return Overall(
        attack=attack,
        role=part,
        cells=sum(row.n > 0 for row in rows),
        records=sum(row.n for row in rows),
        skipped=sum(row.skipped for row in rows),
        scores=_means([{key: found.value for key, found in row.scores.items()} for row in rows]),
        null=_means([row.null for row in rows]),
        trivial=_means([row.trivial for row in rows]),
        certified=fmean(certified) if certified else None,
        seconds=median(times) if times else None,
        measures=_means([row.measures for row in rows]),
    )


def _means(scores: list[Mapping[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for row in scores for key in row)
    columns = {key: [row[key] for row in scores if key in row] for key in keys}
    return {key: fmean(values) for key, values in columns.items() if values}
