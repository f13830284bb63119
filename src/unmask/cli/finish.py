"""Before and after an audit: the plan in words, the result in numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from unmask.auditor.loop import Finished
from unmask.auditor.plan import Plan, SeenCell
from unmask.auditor.single import sentences
from unmask.cli import console
from unmask.errors import BadInput
from unmask.record import Record
from unmask.report import csv, form, junit, page, words
from unmask.report.cells import CellView, cells
from unmask.report.folder import load
from unmask.report.rows import rows
from unmask.rng import generator
from unmask.surface import Scenario
from unmask.surfaces.activation import ActivationSurface

WIDEST = 8
"""Columns of the table in the terminal, beyond which it is turned if that makes it narrower."""


def preview(plan: Plan, *, json: bool) -> None:
    """Print what an audit would do, and compute no attack.

    Args:
        plan: the audit.
        json: print JSON.
    """
    victim = plan.subject.victim(plan.items[0])
    seen = Scenario(victim=victim, surface=plan.cells[0].surface).observe(generator(plan.seed, "preview"))
    runs = len(plan.jobs())
    most = runs * plan.run_seconds if plan.budget is None else min(plan.budget, runs * plan.run_seconds)
    attacks = [f"{role.attack.name} ({role.role}) in {len(role.cells)} cells" for role in plan.roles]
    if json:
        console.emit(
            {
                "model": plan.subject.name,
                "parameters": plan.subject.parameters,
                "threat_model": list(sentences(seen)),
                "cells": [asdict(cell.cell) for cell in plan.cells],
                "items": len(plan.items),
                "attacks": attacks,
                "defences": [str(each) for each in plan.guarantees],
                "runs": runs,
                "seconds_at_most": most,
            }
        )
        return
    print(f"Model: {plan.subject.name}, {form.count(plan.subject.parameters)} parameters")
    print("Threat model:")
    for sentence in sentences(seen):
        print(f"  {sentence}")
    print(f"Cells: {len(plan.cells)}")
    for cell in plan.cells:
        print(f"  {words.place(cell.cell.layer, cell.cell.component)}: {_size(cell)}")
    print(f"Attacked per cell: {len(plan.items)}")
    print(f"Attacks: {', '.join(attacks)}")
    for guarantee in plan.guarantees:
        print(f"Defence: {guarantee}")
    print(f"Runs: {runs}, {form.seconds(most)} at most")


SEEN_AS = {
    "store": "numbers",
    "noisy-store": "numbers",
    "store-state": "numbers",
    "answer": "tokens",
    "bounded-answer": "tokens",
}
"""What is counted where a cell is no part of the model."""


def _size(cell: SeenCell) -> str:
    if isinstance(cell.surface, ActivationSurface):
        return f"{form.count(cell.cell.parameters)} numbers a token"
    if cell.surface.name in SEEN_AS:
        return f"{form.count(cell.cell.parameters)} {SEEN_AS[cell.surface.name]}"
    return f"{form.count(cell.cell.parameters)} ({form.percent(cell.cell.share)})"


def finish(plan: Plan, done: Finished, *, json: bool, junit_file: Path | None, csv_file: Path | None) -> int:
    """Write the report, print the result and return the exit code.

    Args:
        plan: the audit.
        done: what it left behind.
        json: print JSON and nothing else.
        junit_file: where to write JUnit XML, or None.
        csv_file: where to write the rows, or None.

    Returns:
        1 if a leak lies above the limit, 130 if the user stopped the audit, else 0.

    Raises:
        BadInput: if no run was finished.
        StorageError: if a file cannot be written.
    """
    if not done.records and not done.interrupted:
        raise BadInput("--budget", plan.budget, "ended before the first run", "raise it and add --resume")
    if not done.records:
        console.note("unmask: stopped before the first run was finished")
        return 130
    report = page.write(done.path)
    if junit_file is not None:
        junit.write(done.path, junit_file)
    if csv_file is not None:
        csv.write(rows(load(done.path).records), csv_file)
    facts = page.summary(done.path)
    if json:
        console.emit({"run": str(done.path), "report": str(report), "planned": done.total, **facts, **_unscored(done)})
    else:
        _print(plan, done, report, facts)
    if done.interrupted:
        console.note(f"unmask: stopped; go on with --out {done.path} --resume")
    return 1 if facts["leaks"] else 130 if done.interrupted else 0


def _print(plan: Plan, done: Finished, report: Path, facts: Mapping[str, object]) -> None:
    run = load(done.path)
    grid = cells(run.grid, rows(run.records))
    out = Console()
    if facts["leak_cell"] is not None:
        out.print(_heat(grid))
        out.print(str(facts["headline"]), highlight=False)
        details = facts["details"]
        for sentence in details if isinstance(details, list) else ():
            out.print(sentence, highlight=False)
    for record in done.records:
        if not record.scores:
            out.print(_recovered(record), highlight=False, markup=False)
    left = done.total - len(done.records)
    if left and not done.interrupted:
        noun = "run was" if left == 1 else "runs were"
        out.print(f"{left} {noun} left when the budget ended; go on with --resume.", highlight=False)
    for guarantee in plan.guarantees:
        out.print(f"Defence {guarantee}", highlight=False)
    # Printed as it is: a wrapped path cannot be copied.
    print(f"Report: {report}")


def _heat(grid: Sequence[CellView]) -> Table:
    """Return the leak of every cell, layers down and components across, or turned where that is narrower."""
    found = {(cell.plan.layer, cell.plan.component): cell for cell in grid}
    layers = {layer: words.layer(layer) for layer, _ in found}
    components = {component: words.component(component) for _, component in found}
    score = next((cell.best.kind.leak_name for cell in grid if cell.best is not None), "Leak")
    table = Table(title=f"{score} of what came back", box=None, title_justify="left")
    table.add_column("")
    if len(components) > WIDEST and len(layers) < len(components):
        for name in layers.values():
            table.add_column(name, justify="right")
        for component, name in components.items():
            table.add_row(name, *[_value(found.get((layer, component))) for layer in layers])
        return table
    for name in components.values():
        table.add_column(name, justify="right")
    for layer, name in layers.items():
        table.add_row(name, *[_value(found.get((layer, component))) for component in components])
    return table


def _value(cell: CellView | None) -> str:
    if cell is None or cell.best is None:
        return "absent" if cell is not None and cell.absent else form.score(None)
    value = cell.best.leak
    colour = "bold red" if value >= 0.9 else "yellow" if value >= 0.3 else "green"
    return f"[{colour}]{form.score(value)}[/]"


def _recovered(record: Record) -> str:
    where = words.place(record.cell.layer, record.cell.component)
    texts = " | ".join(text for text in record.texts.recovered if text) or "nothing"
    return f"{where}, {record.attack['name']}: {texts} ({record.outcome}: {record.reason})"


def _unscored(done: Finished) -> dict[str, object]:
    found = [
        {
            "layer": r.cell.layer,
            "component": r.cell.component,
            "attack": r.attack["name"],
            "outcome": str(r.outcome),
            "certificate": r.certificate,
            "recovered": list(r.texts.recovered),
            "redacted": r.texts.redacted,
        }
        for r in done.records
        if not r.scores
    ]
    return {"unscored": found} if found else {}
