"""`unmask compare`: defended and undefended runs on one page."""

import json as encoder
from pathlib import Path
from typing import Annotated

import typer

from unmask.report import comparison


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `unmask audit --out` wrote; the first is plain.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path(comparison.NAME),
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")] = False,
) -> None:
    """Put runs with and without defences side by side: leak, guarantee, and privacy against utility."""
    written = comparison.write(runs, out)
    if json:
        facts = {"page": str(written), **comparison.summary(comparison.sides(runs))}
        print(encoder.dumps(facts, ensure_ascii=False, indent=1, default=str))
        return
    print(written)
