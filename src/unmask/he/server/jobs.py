"""Queries in the order in which they came, each when there is memory for its client's keys."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from unmask.errors import BadInput
from unmask.he import query
from unmask.he.backend import Evaluator
from unmask.he.errors import BackendError
from unmask.he.library import Closing, Library
from unmask.he.servable import Run, Servable
from unmask.he.server.limits import Limits, Refused
from unmask.he.server.sessions import Session


class State(StrEnum):
    """Where a query is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


ENDED = (State.DONE, State.FAILED)
KEPT = 8
"""Ended queries that a client can still ask for."""


@dataclass(kw_only=True, eq=False)
class Job:
    """One query.

    Args:
        name: of the query.
        session: who asked.
        ciphertexts: what was sent; dropped when it is done.
        state: where it is.
        step: what was finished last.
        share: of the whole, in [0, 1].
        seconds: of computing, loading keys included.
        reason: why it failed.
        answer: the sealed answer.
    """

    name: str
    session: Session
    ciphertexts: Sequence[bytes]
    state: State = field(default=State.QUEUED)
    step: str = field(default="")
    share: float = field(default=0.0)
    seconds: float = field(default=0.0)
    reason: str = field(default="")
    answer: bytes = field(default=b"")


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A client's keys and the weights in a worker, kept for its next query while there is room."""

    evaluator: Evaluator
    run: Run
    closing: Closing


class Jobs:
    """One thread that computes; the processors are busy with one query at a time.

    Args:
        circuit: what is served.
        library: backend.
        limits: of the server.
    """

    def __init__(self, circuit: Servable, library: Library, limits: Limits) -> None:
        self._circuit = circuit
        self._library = library
        self._limits = limits
        self._queue: deque[Job] = deque()
        self._jobs: dict[tuple[str, str], Job] = {}
        # In the order of their last use: the first is the first to go.
        self._opened: dict[str, Opened] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="queries", daemon=True)

    @property
    def room(self) -> int:
        """Clients whose keys can be in memory at a time; 0 means that the package is too large for this server."""
        return self._limits.memory // max(1, self._circuit.memory)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, session: Session, content: bytes) -> Job:
        """Queue a query.

        Raises:
            Refused: if keys are missing, the query is damaged, for another circuit or a repetition, or too many wait.
        """
        if not session.ready:
            raise Refused(409, "the keys have not all arrived; upload the rest first")
        session.bucket.take()
        try:
            name, parts = query.unpacked("query", content, key=session.key_set.key, package=self._circuit.digest)
        except BadInput as error:
            raise Refused(422, str(error)) from error
        if len(parts) != self._circuit.inputs:
            raise Refused(422, f"the query holds {len(parts)} ciphertexts and the package takes {self._circuit.inputs}")
        with self._changed:
            if name in session.asked:
                raise Refused(409, "this query was sent before; encrypt anew for another")
            if len(self._queue) >= self._limits.queue:
                raise Refused(429, f"{len(self._queue)} queries wait already; try again later")
            session.asked.add(name)
            self._thin(session)
            job = Job(name=name, session=session, ciphertexts=parts)
            self._queue.append(job)
            self._jobs[session.token, name] = job
            self._changed.notify_all()
            return job

    def _thin(self, session: Session) -> None:
        """Drop a client's oldest answers, which take as much memory as ciphertexts do."""
        ended = [key for key, job in self._jobs.items() if job.session is session and job.state in ENDED]
        for key in ended[: max(0, len(ended) - KEPT + 1)]:
            del self._jobs[key]

    def get(self, session: Session, name: str) -> Job:
        """Return a client's query.

        Raises:
            Refused: if it has none of this name.
        """
        with self._changed:
            job = self._jobs.get((session.token, name))
        if job is None:
            raise Refused(404, "this session has no such query")
        return job

    def position(self, job: Job) -> int:
        """Return how many wait before it."""
        with self._changed:
            return self._queue.index(job) if job in self._queue else 0

    def waiting(self) -> int:
        """Return how many wait."""
        with self._changed:
            return len(self._queue)

    def forget(self, session: Session) -> None:
        """Drop a client's queries, and its worker unless it computes right now: then after that."""
        with self._changed:
            self._queue = deque(job for job in self._queue if job.session is not session)
            for key in [key for key in self._jobs if key[0] == session.token]:
                del self._jobs[key]
            opened = self._opened.pop(session.token, None)
        if opened:
            opened.closing.close()

    def close(self) -> None:
        """Stop after the query that is being computed, and end all workers."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        for opened in self._opened.values():
            opened.closing.close()
        self._opened.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                job = self._queue.popleft()
                job.state = State.RUNNING
                # Out of the table while it computes, so that nobody closes it meanwhile.
                opened = self._opened.pop(job.session.token, None)
            began = time.monotonic()
            opened = self._compute(job, opened)
            job.seconds = time.monotonic() - began
            self._keep(job.session, opened)

    def _compute(self, job: Job, opened: Opened | None) -> Opened | None:
        """Answer one query; return the worker, or None if it has to be given up."""
        try:
            opened = opened or self._open(job.session)
            self._answer(job, opened)
            job.state = State.DONE
            return opened
        except BadInput as error:  # the client's fault; the worker is sound
            job.reason, job.state = str(error), State.FAILED
            return opened
        except BackendError as error:
            job.reason, job.state = str(error), State.FAILED
        except Exception as error:  # the server lives on whatever a query does
            job.reason, job.state = f"the server failed ({type(error).__name__})", State.FAILED
        if opened:
            opened.closing.close()
        return None

    def _open(self, session: Session) -> Opened:
        with self._changed:
            others = list(self._opened)[: max(0, len(self._opened) - self.room + 1)]
            leaving = [self._opened.pop(token) for token in others]
        for old in leaving:
            old.closing.close()
        allowed = self._limits.memory
        evaluator, closing = self._library.evaluator(session.folder, memory=allowed)
        try:
            return Opened(evaluator=evaluator, run=self._circuit.open(evaluator), closing=closing)
        except BaseException:
            closing.close()
            raise

    def _answer(self, job: Job, opened: Opened) -> None:
        def progress(step: str, share: float) -> None:
            job.step, job.share = step, share

        inputs = [opened.evaluator.load(part) for part in job.ciphertexts]
        for ciphertext in inputs:
            if ciphertext.level != self._circuit.level:
                raise BadInput("query", ciphertext.level, "is of another level than the package takes", "encrypt anew")
        outputs = opened.run(inputs, progress)
        parts = [opened.evaluator.serialise(output) for output in outputs]
        key, package = job.session.key_set.key, self._circuit.digest
        job.answer = query.packed("answer", name=job.name, key=key, package=package, ciphertexts=parts)
        job.ciphertexts = ()

    def _keep(self, session: Session, opened: Opened | None) -> None:
        if opened is None:
            return
        with self._changed:
            # A session that was removed meanwhile has no folder any more.
            kept = session.folder.exists() and not self._closing
            if kept:
                self._opened[session.token] = opened
        if not kept:
            opened.closing.close()
