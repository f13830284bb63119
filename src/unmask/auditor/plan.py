"""What an audit sets out to do, before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unmask import settings
from unmask.attack import Attack
from unmask.auditor.subject import Subject
from unmask.defence import Stated
from unmask.observation import Seen
from unmask.record import Cell
from unmask.surface import Surface

STRONGEST = "strongest"
BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class SeenCell:
    """One part of the model, and the surface that shows it alone.

    Args:
        cell: how the report calls it.
        surface: what the adversary sees.
    """

    cell: Cell
    surface: Surface[Any, Seen]


@dataclass(frozen=True, kw_only=True)
class Role:
    """One attack with the part that it plays.

    Args:
        attack: the attack.
        role: `strongest` or `baseline`.
        cells: indices of the plan's cells in which it runs.
    """

    attack: Attack[Any]
    role: str
    cells: tuple[int, ...]

    def described(self) -> dict[str, object]:
        """Return name, role and settings as they stand in a record."""
        return {**settings.to_json(self.attack), "name": self.attack.name, "role": self.role}


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Cells times items times attacks.

    Args:
        subject: the model, with the means to make victims and to judge guesses.
        cells: the parts of the model that are shown, one at a time.
        items: the secrets, all of the subject's kind; an entry is None where only a trace of the secret is known.
        roles: the attacks, in the order in which they take their turn.
        controls: secrets for the null control where there are fewer than two items.
        seed: the run's seed.
        run_seconds: time limit of one attack on one observation.
        budget: time limit of the whole audit in seconds, or None.
        guarantees: what the defences in the cells' surfaces promise; kept for the report.
        trained: how the model was defended when it was trained, from the file beside it; kept for the report.
        show_private: whether texts are recorded unmasked.
        fail_on: highest leak that passes, or None; kept for the report.
        command: the command line; kept for the report.
    """

    subject: Subject
    cells: tuple[SeenCell, ...]
    items: tuple[Any, ...]
    roles: tuple[Role, ...]
    controls: tuple[Any, ...] = field(default=())
    seed: int = field(default=0)
    run_seconds: float = field(default=60.0)
    budget: float | None = field(default=None)
    guarantees: tuple[Stated, ...] = field(default=())
    trained: Mapping[str, object] = field(default_factory=dict)
    show_private: bool = field(default=False)
    fail_on: float | None = field(default=None)
    command: tuple[str, ...] = field(default=())

    def jobs(self) -> "tuple[Job, ...]":
        """Return every run of every attack: role by role, cell by cell, item by item."""
        return tuple(
            Job(role=role, cell=self.cells[cell], item=item)
            for role in self.roles
            for cell in role.cells
            for item in range(len(self.items))
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attack on one observation.

    Args:
        role: the attack.
        cell: what is seen.
        item: index of the secret.
    """

    role: Role
    cell: SeenCell
    item: int


def spread(count: int, total: int) -> tuple[int, ...]:
    """Return `count` indices below `total`, evenly spread, each once; all of them if there are fewer.

    Args:
        count: how many.
        total: out of how many.

    Example:
        >>> spread(3, 9)
        (0, 4, 8)
    """
    if count >= total:
        return tuple(range(total))
    if count <= 1:
        return tuple(range(count))
    return tuple(round(i * (total - 1) / (count - 1)) for i in range(count))
