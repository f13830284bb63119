"""`unmask poly study`: seeds and ablations of training and conversion, as a table and a page."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option(help="Folder of outcomes and page; call again to go on.")],
    data: Annotated[Path | None, typer.Option(help="Labelled images; without it a recall task is made.")] = None,
    factors: Annotated[
        str, typer.Option(help="What to change, one at a time: some of length,penalty,norms,degree,depth.")
    ] = "length,penalty,norms,degree,depth",
    seeds: Annotated[int, typer.Option(help="Runs of each variant.")] = 3,
    epochs: Annotated[
        str, typer.Option(help="Epochs with the functions, with range penalty, as polynomials.")
    ] = "8,3,9",
    count: Annotated[int, typer.Option(help="Inputs: training, a tenth held out, a fifth to test.")] = 6000,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")] = False,
) -> None:
    """Say how accuracy, ranges and stability change with each choice, beside a soft-max twin of equal epochs."""
    # Training needs torch: it is imported here, and the other commands of the group start at once.
    import_module("unmask.cli.study").run(
        out=out, data=data, factors=factors, seeds=seeds, epochs=epochs, count=count, json=json
    )
