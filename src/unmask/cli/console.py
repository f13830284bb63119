"""What the commands print: results to stdout, everything else to stderr."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from unmask.auditor.loop import Step
from unmask.errors import BadInput
from unmask.report import words

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def duration(text: str, argument: str) -> float:
    """Return seconds of a text such as `90s`, `5m`, `1h30m` or `90`.

    Args:
        text: what the user wrote.
        argument: the option it was given to.

    Raises:
        BadInput: if it is no positive duration.

    Example:
        >>> duration("1m30s", "--budget")
        90.0
    """
    found = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise BadInput(argument, text, "is no duration", "write such as 90s, 5m or 1h30m")
    return total


def note(text: str) -> None:
    """Write a line to stderr.

    Args:
        text: the line.
    """
    print(text, file=sys.stderr)


def emit(data: Mapping[str, object]) -> None:
    """Write JSON to stdout.

    Args:
        data: what JSON can hold.
    """
    print(json.dumps(data, ensure_ascii=False, indent=1, default=str))


@contextmanager
def bar() -> Iterator[Callable[[Step], None]]:
    """Show a progress bar on stderr during the block; yield what to call with every step."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("attacking", total=None)

        def step(now: Step) -> None:
            progress.update(task, total=now.total, completed=now.done)
            if now.job is not None:
                cell = now.job.cell.cell
                where = words.place(cell.layer, cell.component)
                progress.update(task, description=f"{where}, {now.job.role.attack.name}, text {now.job.item + 1}")

        yield step


@contextmanager
def steps(task: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr during the block; yield what to call with done and total.

    Args:
        task: what is done.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        shown = progress.add_task(task, total=None)
        yield lambda done, total: progress.update(shown, total=total, completed=done)
