"""Where runs are carried out."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

from unmask.record import Record


@runtime_checkable
class Executor(Protocol):
    """Carries out runs and hands back their records, in any order."""

    def run(self, jobs: Iterable[Callable[[], Record]]) -> Iterator[Record]:
        """Yield each job's record as soon as it is there.

        Args:
            jobs: runs; the next one is drawn when there is room for it, and its time limit set then.
        """


class LocalExecutor:
    """One run after the other in this process."""

    def run(self, jobs: Iterable[Callable[[], Record]]) -> Iterator[Record]:
        """Yield each job's record, in order.

        Args:
            jobs: runs.
        """
        for job in jobs:
            yield job()
