"""`unmask report`: write the page of a finished run again."""

from pathlib import Path
from typing import Annotated

import typer

from unmask.report import csv, junit, page
from unmask.report.folder import load
from unmask.report.rows import rows


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="The page; default: report.html in the folder.")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write the rows as CSV.")] = None,
) -> None:
    """Write the report of a run from its records; nothing is computed."""
    written = page.write(run, out)
    if junit_file is not None:
        junit.write(run, junit_file)
    if csv_file is not None:
        csv.write(rows(load(run).records), csv_file)
    print(written)
