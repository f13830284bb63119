"""A run's folder, read back."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unmask import record
from unmask.errors import BadInput
from unmask.record import Record
from unmask.report.words import SURFACES


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One cell that the run set out to attack.

    Args:
        layer: layer index, or None outside the layers.
        component: the component's name; several are joined by `+`.
        parameters: how many numbers are seen.
        share: `parameters` divided by the number of parameters of the model.
        absent: why the information is provably not there, or None.
        noun: what a cell of this surface is called.
    """

    layer: int | None
    component: str
    parameters: int
    share: float
    absent: str | None = None
    noun: str = "component"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything a run left on the disk.

    Args:
        path: the run's folder.
        model: the victim's name.
        surface: the surface's name and settings.
        seed: the run's seed.
        versions: package name to version.
        command: the command line that started the run.
        started: ISO time of the start, empty if unknown.
        settings: the run's settings.
        fail_on: highest leak that passes, or None.
        parameters: number of parameters of the model, 0 if unknown.
        grid: the planned cells, then cells that only records name.
        records: the finished records, each key once.
        guarantees: what the defences promise: name, epsilon, delta, unit and the rest of a guarantee.
        trained: how the model was defended when it was trained: guarantee, utility and more; empty if it was not.
    """

    path: Path
    model: str
    surface: Mapping[str, object]
    seed: int
    versions: Mapping[str, str]
    command: str
    started: str
    settings: Mapping[str, object]
    fail_on: float | None
    parameters: int
    grid: tuple[Planned, ...]
    records: tuple[Record, ...]
    guarantees: tuple[Mapping[str, object], ...] = field(default=())
    trained: Mapping[str, Any] = field(default_factory=dict)


def load(path: Path) -> Run:
    """Read a run's folder; what `run.json` lacks is taken from the records.

    Args:
        path: folder with `records.jsonl` and, if it is there, `run.json`.

    Raises:
        BadInput: if there is no folder, no finished record, or a file of another kind.
    """
    if not path.is_dir():
        raise BadInput("run", str(path), "is no folder", "name the folder that `unmask audit --out` wrote")
    head = _head(path / "run.json")
    records = _records(path)
    first = records[0]
    command = head.get("command", "")
    surface = _mapping(head.get("surface")) or first.surface
    return Run(
        path=path,
        model=str(head.get("model", first.model)),
        surface=surface,
        seed=int(head.get("seed", first.seed)),
        versions={key: str(value) for key, value in (_mapping(head.get("versions")) or first.versions).items()},
        command=shlex.join(map(str, command)) if isinstance(command, list) else str(command),
        started=str(head.get("started", "")),
        settings=_mapping(head.get("settings")),
        fail_on=None if head.get("fail_on") is None else float(head["fail_on"]),
        parameters=int(head.get("parameters", 0)),
        grid=_grid(head.get("grid", ()), records, SURFACES.get(str(surface.get("name")), "component")),
        records=records,
        guarantees=tuple(_mapping(each) for each in head.get("guarantees", ()) if isinstance(each, dict)),
        trained=_mapping(head.get("trained")),
    )


def _head(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    remedy = "delete it, or write the run again"
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput("run", str(path), f"is no JSON ({error})", remedy) from error
    if not isinstance(head, dict):
        raise BadInput("run", str(path), "is no JSON object", remedy)
    for key in ("seed", "fail_on", "parameters"):
        value = head.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadInput(f"run.json {key}", value, "is no number", remedy)
    return {key: value for key, value in head.items() if value is not None}


def _records(path: Path) -> tuple[Record, ...]:
    file = path / "records.jsonl"
    if not file.exists():
        raise BadInput("run", str(path), "holds no records.jsonl", "name the folder that `unmask audit --out` wrote")
    # A key can occur twice when two processes wrote to one folder; it is one measurement.
    records = {found.key: found for found in record.read(file)}
    if not records:
        raise BadInput("run", str(path), "has no finished record", "let `unmask audit` finish at least one cell")
    return tuple(records.values())


def _grid(cells: object, records: tuple[Record, ...], noun: str) -> tuple[Planned, ...]:
    planned = [_planned(cell) for cell in cells] if isinstance(cells, list) else []
    known = {(cell.layer, cell.component): cell for cell in planned}
    for found in records:
        cell = found.cell
        known.setdefault(
            (cell.layer, cell.component),
            Planned(layer=cell.layer, component=cell.component, parameters=cell.parameters, share=cell.share),
        )
    return tuple(replace(cell, noun=noun) for cell in known.values())


def _planned(cell: object) -> Planned:
    data = _mapping(cell)
    if "component" not in data:
        raise BadInput("run.json grid", cell, "names no component", "write the run again")
    layer = data.get("layer")
    try:
        return Planned(
            layer=None if layer is None else int(layer),
            component=str(data["component"]),
            parameters=int(data.get("parameters") or 0),
            share=float(data.get("share") or 0.0),
            absent=None if data.get("absent") is None else str(data["absent"]),
        )
    except (TypeError, ValueError) as error:
        raise BadInput("run.json grid", cell, f"is no cell ({error})", "write the run again") from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
