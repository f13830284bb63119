"""The rows of a report as comma-separated values."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from unmask import storage
from unmask.report.kinds import TEXT, Kind
from unmask.report.rows import Row

_PLAIN = ("layer", "component", "parameters", "share", "attack", "role", "n", "skipped")
_COST = ("certified", "certificate", "seconds", "absent")


def write(rows: Sequence[Row], out: Path) -> Path:
    """Write one line per row: scores with both ends of their interval, then the controls.

    Args:
        rows: the measured rows.
        out: the file to write.

    Returns:
        The file that was written.

    Raises:
        StorageError: if the disk is full or the file cannot be written.

    Example:
        >>> write((), Path("rows.csv"))  # doctest: +SKIP
        PosixPath('rows.csv')
    """
    kind = next((row.kind for row in rows if row.scores), rows[0].kind if rows else TEXT)
    columns = [f"{key}{end}" for key in kind.metrics for end in ("", "_low", "_high")]
    controls = [f"{control}_{key}" for control in ("null", "trivial") for key in kind.metrics]
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow([*_PLAIN, *columns, *kind.measures, *controls, *_COST])
    for row in rows:
        table.writerow([_cell(value) for value in _values(row, kind)])
    return storage.replace(out, file.getvalue())


def _values(row: Row, kind: Kind) -> list[object]:
    plain = [row.layer, row.component, row.parameters, row.share, row.attack, row.role, row.n, row.skipped]
    found = [row.scores.get(key) for key in kind.metrics]
    scores = [end for mean in found for end in ((mean.value, mean.low, mean.high) if mean else (None, None, None))]
    controls = [source.get(key) for source in (row.null, row.trivial) for key in kind.metrics]
    measures = [row.measures.get(key) for key in kind.measures]
    return [*plain, *scores, *measures, *controls, row.certified, row.certificate, row.seconds, row.absent]


def _cell(value: object) -> object:
    # A spreadsheet runs text that begins like a formula.
    return "'" + value if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
