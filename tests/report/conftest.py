"""A run's folder on the disk."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.report.synthetic import Make, everything, grid
from unmask.record import Record, append


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a run's folder; `head` overrides keys of `run.json`."""

    def write(records: Sequence[Record] | None = None, **head: object) -> Path:
        folder = tmp_path / "run"
        folder.mkdir(parents=True, exist_ok=True)
        data: dict[str, object] = {
            "model": "minilm",
            "surface": {"name": "gradient", "dtype": "float32"},
            "seed": 7,
            "versions": {"torch": "2.13.0", "unmask": "0.1.0"},
            "command": "unmask audit --model minilm --out run",
            "started": "2025-11-22T13:00:00",
            "settings": {"budget": 60},
            "fail_on": None,
            "parameters": 22713216,
            "grid": grid(),
            **head,
        }
        (folder / "run.json").write_text(json.dumps(data), encoding="utf-8")
        (folder / "records.jsonl").touch()
        for found in everything() if records is None else records:
            append(folder / "records.jsonl", found)
        return folder

    return write
