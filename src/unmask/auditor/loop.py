"""The one loop: what is left to do, for how long, and a record for each run as soon as it is done."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unmask import record
from unmask.auditor import folder
from unmask.auditor.executors import Executor, LocalExecutor
from unmask.auditor.plan import Job, Plan
from unmask.auditor.single import SILENT, single
from unmask.errors import NoSignal
from unmask.record import Record


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where the audit stands.

    Args:
        done: finished runs, those of an earlier part included.
        total: planned runs.
        job: the run that is about to begin, or None.
        record: the run that has just ended, or None.
    """

    done: int
    total: int
    job: Job | None
    record: Record | None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What an audit left behind.

    Args:
        path: the run's folder.
        records: finished records of this plan, in the plan's order.
        total: planned runs.
        interrupted: whether the user stopped it.
    """

    path: Path
    records: tuple[Record, ...]
    total: int
    interrupted: bool


def run(
    plan: Plan,
    out: Path,
    *,
    resume: bool = False,
    progress: Callable[[Step], None] = lambda step: None,
    executor: Executor | None = None,
) -> Finished:
    """Carry out a plan and write its folder; an interrupt by the user ends it early, with what is finished.

    The budget is shared fairly: no run takes more than what is left divided by the runs that are left,
    so every cell gets its turn, and time that easy cells do not need goes to those after them.

    Args:
        plan: what to do.
        out: the run's folder.
        resume: go on with a run of the same plan; keys that it has are not run again.
        progress: called before and after every run.
        executor: carries out the runs, by default one after the other in this process.

    Returns:
        The records of this plan, those of the earlier part included.

    Raises:
        BadInput: if the folder is in use or an observation cannot be made.
        NoSignal: if everything that was seen, in every run, is zero.
        StorageError: if a record cannot be written; those before it are kept.
    """
    found = folder.start(out, plan, resume=resume)
    jobs = folder.keyed(plan)
    waiting = [(key, job) for key, job in jobs.items() if key not in found]
    earlier, interrupted = len(jobs) - len(waiting), False
    made: list[Record] = []
    clock = _Clock(plan, len(waiting))

    def thunks() -> Iterator[Callable[[], Record]]:
        for key, job in waiting:
            seconds = clock.next()
            if seconds <= 0:
                return
            progress(Step(done=earlier + len(made), total=len(jobs), job=job, record=None))
            yield partial(single, plan, job, key, seconds, out)

    try:
        for finished in (executor or LocalExecutor()).run(thunks()):
            record.append(out / folder.RECORDS, finished)
            made.append(finished)
            progress(Step(done=earlier + len(made), total=len(jobs), job=None, record=finished))
    except KeyboardInterrupt:
        interrupted = True
    if made and all(finished.reason == SILENT for finished in made):
        remedy = "look for a loss that is flat or depends on none of these parameters"
        raise NoSignal(plan.cells[0].surface.name, plan.subject.name, "is zero everywhere", remedy)
    found |= {finished.key: finished for finished in made}
    records = tuple(found[key] for key in jobs if key in found)
    return Finished(path=out, records=records, total=len(jobs), interrupted=interrupted)


class _Clock:
    """Shares what is left of the budget among the runs that are left."""

    def __init__(self, plan: Plan, runs: int) -> None:
        self.limit = plan.run_seconds
        self.deadline = math.inf if plan.budget is None else time.monotonic() + plan.budget
        self.left = runs

    def next(self) -> float:
        share = (self.deadline - time.monotonic()) / self.left
        self.left -= 1
        return min(self.limit, share)
