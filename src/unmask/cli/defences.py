"""The `--defence` option: a registered name with its settings, as in `dp-sgd:noise=1.0,clip=0.5`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from unmask.auditor.plan import SeenCell
from unmask.defence import Defence
from unmask.errors import BadInput
from unmask.registry import Group, make
from unmask.surface import Scenario

Option = Annotated[
    list[str] | None,
    typer.Option(help="Protect what is seen: NAME or NAME:key=value,key=value, such as dp-sgd:noise=1.0; may repeat."),
]


def parse(text: str) -> Defence:
    """Return the defence that an option names, with its settings.

    Args:
        text: such as `perturb:noise=0.01,dtype=bfloat16`.

    Raises:
        BadInput: if the name or a setting is unknown, or a setting has no value.

    Example:
        >>> parse("perturb:noise=0.01").name
        'perturb'
    """
    name, _, rest = text.partition(":")
    data: dict[str, object] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not value:
            raise BadInput("--defence", text, f"gives no value to {key!r}", "write key=value, with commas between")
        data[key.strip()] = _value(value.strip())
    defence: Defence = make(Group.DEFENCE, name, data, argument="--defence")
    return defence


def protected(cells: Sequence[SeenCell], defences: Sequence[Defence]) -> tuple[SeenCell, ...]:
    """Return cells as they are seen behind defences, applied in the order given.

    Args:
        cells: what is seen without them.
        defences: the defences.

    Raises:
        BadInput: if a defence does not fit what is seen.
    """
    found = []
    for cell in cells:
        scenario = Scenario(victim=None, surface=cell.surface)
        for defence in defences:
            scenario = defence.protect(scenario)
        found.append(replace(cell, surface=scenario.surface))
    return tuple(found)


def stated(cells: Sequence[SeenCell], defences: Sequence[Defence]) -> tuple[str, ...]:
    """Return one sentence per defence: its name and what it guarantees.

    Args:
        cells: what is seen without them.
        defences: the defences.
    """
    scenario = Scenario(victim=None, surface=cells[0].surface)
    return tuple(f"{defence.name}: {defence.guarantee(scenario)}" for defence in defences)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
