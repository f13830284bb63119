"""`unmask info`: what a name stands for."""

import inspect
from typing import Annotated

import typer

from unmask import settings
from unmask.errors import BadInput
from unmask.registry import Group, find, make, names


def command(name: Annotated[str, typer.Argument(help="Name of a surface, an attack or a defence.")]) -> None:
    """Describe a surface, an attack or a defence, with its settings and their defaults."""
    groups = [group for group in Group if name in names(group)]
    if not groups:
        every = [known for group in Group for known in names(group)]
        raise BadInput("name", name, "is not registered", f"choose {', '.join(every)}")
    for group in groups:
        found = find(group, name, argument="name")
        print(f"{group.noun} {name}\n")
        print(inspect.getdoc(found) or "")
        try:
            instance = make(group, name, argument="name")
        except BadInput:
            continue  # it has settings without a default, which its text describes
        source = getattr(instance, "source", "")
        print(f"\nsource: {source}" if source else "")
        for key, value in settings.to_json(instance).items():
            print(f"  {key} = {value!r}")
