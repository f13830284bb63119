"""Cells as they are seen behind defences, and what those promise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unmask.auditor.plan import SeenCell
from unmask.defence import Defence, Stated
from unmask.defences.training.private_model import HEAD
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


def stated(cells: Sequence[SeenCell], defences: Sequence[Defence]) -> tuple[Stated, ...]:
    """Return each defence's name with what it guarantees.

    An audit draws its noise from its seed, so that it can be repeated: what it releases is void, and what is
    stated holds for the same mechanism with fresh randomness.

    Args:
        cells: what is seen without them.
        defences: the defences.
    """
    scenario = Scenario(victim=None, surface=cells[0].surface)
    found = []
    for defence in defences:
        promised = defence.guarantee(scenario)
        void = promised.void or promised.epsilon is not None
        found.append(Stated(name=defence.name, guarantee=replace(promised, void=void)))
        scenario = defence.protect(scenario)
    return tuple(found)


def training_of(model: object) -> Mapping[str, object]:
    """Return how a model was defended when it was trained, as `unmask defend` wrote it beside the model.

    Args:
        model: what the caller names the model by; nothing is known of one that is no folder.
    """
    if not isinstance(model, str | Path):
        return {}
    try:
        found = json.loads((Path(model) / HEAD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
