"""How much a client may send and ask for, and how it is told that it was too much."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from unmask.errors import BadInput, UnmaskError

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one server.

    Args:
        memory: bytes that all workers together may take.
        sessions: clients at a time.
        queue: queries that wait at a time.
        chunk: bytes of one piece of a key file.
        keys: bytes of one client's keys.
        rate: queries a minute and client.
        idle: seconds after which a silent client's session is removed.

    Raises:
        BadInput: if one is not positive.
    """

    memory: int = field(default=16 * GIB)
    sessions: int = field(default=16)
    queue: int = field(default=32)
    chunk: int = field(default=8 * MIB)
    keys: int = field(default=32 * GIB)
    rate: int = field(default=30)
    idle: float = field(default=3600.0)

    def __post_init__(self) -> None:
        for name in ("memory", "sessions", "queue", "chunk", "keys", "rate", "idle"):
            if not getattr(self, name) > 0:
                raise BadInput(name, getattr(self, name), "is not above 0", "give a positive limit")


class Refused(UnmaskError):
    """A request that is not served, with the status that HTTP has for it.

    Args:
        status: such as 413 for too large.
        reason: one sentence, for the client; it names neither keys nor values.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Bucket:
    """Lets a number of requests a minute through, in bursts of as many.

    Args:
        rate: requests a minute.
        clock: seconds.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate)
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Let one request through.

        Raises:
            Refused: if there were too many.
        """
        with self._lock:
            now = self._clock()
            self._left = min(float(self._rate), self._left + (now - self._at) * self._rate / 60)
            self._at = now
            if self._left < 1:
                raise Refused(429, f"more than {self._rate} queries a minute; wait {60 / self._rate:.0f} s")
            self._left -= 1
