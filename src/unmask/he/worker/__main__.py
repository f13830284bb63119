"""The loop: one message, one command. Only some commands are answered; an error waits for the next that is."""

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from . import wire
from .evaluator import Evaluator
from .keys import KeyHolder


def main(role: str, memory: int) -> None:
    """Serve one pipe until it closes.

    Args:
        role: `client`, which has the secret key, or `server`, which has no command that takes one.
        memory: bytes of address space that the process may take, 0 for all.
    """
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    source = os.fdopen(os.dup(0), "rb", buffering=1 << 20)
    sink = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    # The library prints to standard output now and then, which belongs to the messages.
    os.dup2(2, 1)
    evaluator = Evaluator() if role == "server" else None
    commands = evaluator.commands() if evaluator else KeyHolder().commands()
    commands["wait"] = _wait
    pending: str | None = None
    while True:
        try:
            header, blobs = wire.receive(source)
            if evaluator:
                evaluator.forget(header.pop("forget", []))
            answer, pending = _answer(commands, header, blobs, pending)
            del blobs
            if answer is not None:
                wire.send(sink, answer[0], answer[1])
        except wire.Closed:
            return


def _answer(commands: dict[str, Callable[..., Any]], header: dict[str, Any], blobs: Any, pending: str | None) -> Any:
    """Return the answer, or None for a command that has none, and the error that waits."""
    result: Any = None
    if pending is None:
        try:
            result = commands[header["command"]](header, blobs)
        except Exception as error:  # whatever the library throws is told, and the process lives on
            pending = f"{header['command']}: {type(error).__name__}: {error}"
    if not header.get("answered"):
        return None, pending
    if pending is not None:
        return ({"error": pending}, []), None
    return (result if result is not None else ({}, [])), None


def _wait(header: dict[str, Any], blobs: Any) -> Any:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"peak": used.ru_maxrss * 1024, "processor": used.ru_utime + used.ru_stime, "clock": time.monotonic()}, []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
