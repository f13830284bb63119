"""`unmask list`: the names that other commands take."""

import json as encoder
from typing import Annotated

import typer

from unmask.registry import Group, names


def command(
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")] = False,
) -> None:
    """List surfaces, attacks and defences, those of other packages included."""
    found = {f"{group.noun}s": list(names(group)) for group in Group}
    if json:
        print(encoder.dumps(found, indent=1))
        return
    for noun, known in found.items():
        print(f"{noun}: {', '.join(known)}")
