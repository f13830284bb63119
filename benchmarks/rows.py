"""Measured rows: one per bar, kept as one JSON file per topic."""

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from unmask.errors import BadInput, StorageError

RESULTS = Path(__file__).parent / "results"
TOPICS = ("gradients", "attention", "parameters", "privacy", "polynomial", "encrypted", "practice")
COLUMNS = ("setting", "bar", "measured", "unit", "holds", "control", "n", "seconds", "reason")
PACKAGES = ("unmask", "torch", "transformers", "numpy")

Value = float | int | str


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the version of Python and of each installed package that is named."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class Row:
    """One bar and what was measured against it.

    Args:
        setting: what was measured, in words; it names the row within its topic.
        bar: what has to hold, such as `>= 0.90`; `reported` where nothing has to.
        measured: the number, or a few in words.
        unit: unit of `measured`; empty for a share.
        holds: whether the bar is met.
        control: the same measure for the null control or the peer, or None.
        n: number of items behind `measured`.
        seconds: wall-clock time of the measurement.
        command: what measures it again.
        versions: package name to version.
        reason: why it falls short; kept over a rerun that falls short again without giving one.

    Raises:
        BadInput: if `setting` is empty or a number is not finite.
    """

    setting: str
    bar: Value
    measured: Value
    unit: str
    holds: bool
    control: Value | None
    n: int
    seconds: float
    command: str
    versions: Mapping[str, str] = field(default_factory=versions)
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.setting:
            raise BadInput("setting", self.setting, "is empty", "say in words what was measured")
        for name in ("bar", "measured", "control", "seconds"):
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise BadInput(name, value, "is not finite", "record the failure in words and set holds=False")

    def cells(self) -> tuple[str, ...]:
        """Return what a table shows, in the order of `COLUMNS`."""
        reason = self.reason or ("" if self.holds else "no reason given")
        return (
            self.setting,
            _shown(self.bar),
            _shown(self.measured),
            self.unit,
            "yes" if self.holds else "NO",
            "" if self.control is None else _shown(self.control),
            str(self.n),
            f"{self.seconds:.3g}",
            reason,
        )


def load(topic: str, *, folder: Path = RESULTS) -> tuple[Row, ...]:
    """Return the rows of a topic, none if it was never measured.

    Raises:
        BadInput: if the topic is unknown or its file is damaged.
    """
    path = _path(topic, folder)
    if not path.exists():
        return ()
    try:
        return tuple(Row(**row) for row in json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError) as error:
        raise BadInput(
            "topic", topic, f"has a damaged file ({error})", f"measure again: make bench TOPIC={topic}"
        ) from error


def save(topic: str, rows: Iterable[Row], *, folder: Path = RESULTS) -> None:
    """Put rows into a topic's file: a known setting is replaced in its place, a new one comes last.

    The file is written beside and then renamed, so a kill leaves the old one or the new one.

    Raises:
        BadInput: if the topic is unknown, its file is damaged, or two new rows share a setting.
        StorageError: if the file cannot be written.
    """
    path = _path(topic, folder)
    merged = {row.setting: row for row in load(topic, folder=folder)}
    seen: set[str] = set()
    for row in rows:
        if row.setting in seen:
            raise BadInput("rows", row.setting, "is the setting of two rows", "make the settings differ")
        seen.add(row.setting)
        merged[row.setting] = _with_old_reason(row, merged.get(row.setting))
    text = json.dumps([asdict(row) for row in merged.values()], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    partial = path.with_suffix(".json.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(str(path), error.strerror or str(error)) from error


def _path(topic: str, folder: Path) -> Path:
    if topic not in TOPICS:
        raise BadInput("topic", topic, "is unknown", f"name one of: {', '.join(TOPICS)}")
    return folder / f"{topic}.json"


def _with_old_reason(row: Row, old: Row | None) -> Row:
    if row.holds or row.reason or old is None or old.holds:
        return row
    return Row(**{**asdict(row), "reason": old.reason})


def _shown(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
