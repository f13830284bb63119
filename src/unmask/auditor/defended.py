"""Cells as they are seen behind defences, and what those promise."""

from collections.abc import Sequence
from dataclasses import replace

from unmask.auditor.plan import SeenCell
from unmask.defence import Defence
from unmask.surface import Scenario


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
