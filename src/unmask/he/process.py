"""A worker process behind a pipe: commands that are told, and commands that are asked."""

import contextlib
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.he.errors import BackendError
from unmask.he.worker import wire

ROOM = str(Path(__file__).parent)
# Appended, so that no file of this room hides a module of the standard library; isolated from PYTHONPATH.
START = f"import sys, runpy; sys.path.append({ROOM!r}); runpy.run_module('worker', run_name='__main__', alter_sys=True)"


class Worker:
    """One process with OpenFHE. Commands run in the order in which they were given.

    Args:
        python: the interpreter that can import OpenFHE.
        role: `client` or `server`.
        memory: bytes that it may take, 0 for all that there are.
    """

    def __init__(self, python: Path, role: str, *, memory: int = 0) -> None:
        # A file, since nobody reads a pipe while the worker computes.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [str(python), "-I", "-c", START, role, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=1 << 20,
        )
        self._lock = threading.Lock()
        self._forgotten: deque[int] = deque()
        self._last = 0

    def number(self) -> int:
        """Return a number for a new object in the worker."""
        self._last += 1
        return self._last

    def forget(self, number: int) -> None:
        """Let go of an object, with the next command; called by finalisers, hence without the lock."""
        self._forgotten.append(number)

    def tell(self, command: str, header: Mapping[str, Any], blobs: Sequence[wire.Blob] = ()) -> None:
        """Give a command and return at once; if it fails, the next `ask` says so.

        Raises:
            BackendError: if the process has gone.
        """
        with self._lock:
            self._send({**header, "command": command}, blobs)

    def ask(
        self, command: str, header: Mapping[str, Any], blobs: Sequence[wire.Blob] = ()
    ) -> tuple[dict[str, Any], list[Any]]:
        """Give a command and return its answer.

        Raises:
            BackendError: if it or one before it failed, or the process has gone.
        """
        with self._lock:
            self._send({**header, "command": command, "answered": True}, blobs)
            assert self._process.stdout is not None
            try:
                answer, parts = wire.receive(self._process.stdout)
            except wire.Closed as error:
                raise self._gone() from error
        if "error" in answer:
            raise BackendError(f"the encryption library refused {answer['error']}")
        return answer, parts

    def close(self) -> None:
        """End the process; closing twice does nothing."""
        if self._process.stdin is not None:
            # What was still buffered cannot reach a process that has gone.
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, header: dict[str, Any], blobs: Sequence[wire.Blob]) -> None:
        forgotten = [self._forgotten.popleft() for _ in range(len(self._forgotten))]
        assert self._process.stdin is not None
        try:
            wire.send(self._process.stdin, header | ({"forget": forgotten} if forgotten else {}), blobs)
        except (wire.Closed, ValueError) as error:  # ValueError: the pipe is closed on this side
            raise self._gone() from error

    def _gone(self) -> BackendError:
        code = self._process.wait()
        if self._said.closed:
            return BackendError("the encryption worker was closed; start another")
        self._said.seek(max(0, self._said.seek(0, 2) - 500))
        words = " ".join(self._said.read().decode("utf-8", "replace").split()) or "it said nothing"
        reason = "killed, most likely for memory" if code in (-9, -6) else f"exit code {code}"
        return BackendError(f"the encryption worker has gone ({reason}): {words}")
