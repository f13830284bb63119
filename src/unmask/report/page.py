"""One self-contained page about a run, and the same facts as JSON."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unmask import storage
from unmask.report import figures, form, headline, heatmap, numbers, overview, palette, words
from unmask.report.cells import State, cells
from unmask.report.folder import Run, load
from unmask.report.kinds import TEXT
from unmask.report.promises import promises
from unmask.report.recovered import folds
from unmask.report.rows import rows
from unmask.report.threat import threat_model

NAME = "report.html"
SCHEMA = 1


def write(run: Path, out: Path | None = None) -> Path:
    """Write the report of a run: one HTML file that loads nothing from anywhere.

    Args:
        run: the run's folder, with `records.jsonl` and `run.json`.
        out: the file to write; default `report.html` in the run's folder.

    Returns:
        The file that was written. It is replaced as a whole or left as it was.

    Raises:
        BadInput: if the folder holds no run or no finished record.
        StorageError: if the disk is full or the file cannot be written.

    Example:
        >>> write(Path("runs/minilm"))  # doctest: +SKIP
        PosixPath('runs/minilm/report.html')
    """
    return storage.replace(out or run / NAME, render(load(run)))


def render(run: Run) -> str:
    """Return the page of a run as HTML.

    Args:
        run: the run.
    """
    table = rows(run.records)
    grid = cells(run.grid, table)
    kind = grid[0].kind if grid else TEXT
    tracks, ticks = figures.times(grid)
    script = asset("page.js")
    template = environment().get_template("page.html.j2")
    return template.render(
        run=run,
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(asset("page.css") + asset("figures.css") + palette.css() + heatmap.css(kind)),
        sentence=headline.sentence(grid),
        details=headline.details(grid),
        verdict=headline.verdict(table, grid, run.fail_on),
        heat=heatmap.heat_map(grid),
        shown=heatmap.shown(kind),
        reasons=numbers.reasons(grid),
        folds=folds(grid, run.records, run.path),
        redacted=any(record.texts.redacted for record in run.records) and kind is TEXT,
        hidden=kind is not TEXT and not any(p.secret or p.recovered for r in run.records for p in r.pictures),
        panels=figures.depth(grid),
        contrast=figures.contrast(grid),
        times=tracks,
        ticks=ticks,
        threat=threat_model(run.records),
        promises=promises(run),
        attacks=overview.attacks(table),
        settings=overview.settings(run),
        rows=table,
        kind=kind,
        part=run.grid[0].noun if run.grid else "component",
        glossary=words.glossary(kind, run.grid[0].noun if run.grid else "component"),
    )


def summary(run: Path) -> Mapping[str, object]:
    """Return the report's facts as values that JSON can hold.

    Keys: `headline` and `details` (sentences), `kind` (text or image), `leak` (highest mean over cells
    and attacks of ROUGE-1 for texts or SSIM for images, in [0, 1]), `leak_score` (which of the two),
    `leak_cell`, `fail_on`, `leaks` (whether `leak > fail_on`, None without a limit), `cells` (number
    per state), `records`, `texts` (how many secrets), `attacks`, `threat_model`, `guarantees` (of the
    defences), `trained` (how the model was defended in training), `rows`, `model`,
    `surface`, `seed`, `command`, `versions`, `schema`.

    Args:
        run: the run's folder.

    Raises:
        BadInput: if the folder holds no run or no finished record.

    Example:
        >>> summary(Path("runs/minilm"))["leak"]  # doctest: +SKIP
        1.0
    """
    found = load(run)
    table = rows(found.records)
    grid = cells(found.grid, table)
    top = headline.worst(table)
    leak = headline.leak(table)
    states = [cell.state for cell in grid]
    kind = grid[0].kind if grid else TEXT
    return {
        "schema": SCHEMA,
        "model": found.model,
        "surface": dict(found.surface),
        "seed": found.seed,
        "command": found.command,
        "versions": dict(found.versions),
        "headline": headline.sentence(grid),
        "details": list(headline.details(grid)),
        "kind": kind.noun,
        "leak": leak,
        "leak_score": kind.leak_name,
        "leak_cell": None if top is None else {"layer": top.layer, "component": top.component, "attack": top.attack},
        "fail_on": found.fail_on,
        "leaks": None if found.fail_on is None else leak > found.fail_on,
        "cells": {"all": len(grid), **{str(state): states.count(state) for state in State}},
        "records": len(found.records),
        "texts": len({record.item.get("index", 0) for record in found.records}),
        "attacks": [asdict(attack) for attack in overview.attacks(table)],
        "threat_model": asdict(threat_model(found.records)),
        "guarantees": [dict(each) for each in found.guarantees],
        "trained": dict(found.trained),
        "rows": [asdict(row) for row in table],
    }


def environment() -> Environment:
    """Return the template engine with the page's own ways of writing numbers."""
    environment = Environment(
        loader=PackageLoader("unmask.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": form.score,
        "decibels": form.decibels,
        "parted": form.parted,
        "seconds": form.seconds,
        "certificate": form.certificate,
        "percent": form.percent,
        "count": form.count,
        "component": words.component,
        "layer": words.layer,
    }
    return environment


def asset(name: str) -> str:
    """Return the text of a style sheet or a script.

    Args:
        name: its file among the templates.
    """
    # Read as text: `{#` is a comment to the template engine and an identifier to CSS.
    return files("unmask.report").joinpath("templates", name).read_text(encoding="utf-8")
