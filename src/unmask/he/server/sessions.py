"""Clients and their uploads of keys: in pieces, in order, resumed where they broke off."""

import hmac
import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unmask.errors import BadInput
from unmask.he import keys
from unmask.he.keys import KeyFile, KeySet
from unmask.he.servable import Servable
from unmask.he.server.limits import Bucket, Limits, Refused
from unmask.storage import replace


@dataclass(kw_only=True, eq=False)
class Session:
    """One client: its keys and the queries that it asked.

    Args:
        token: secret between client and server.
        folder: where its public keys are.
        key_set: what they consist of.
        bucket: its rate.
        seen: when it was last heard of.
        complete: names of the key files that have arrived whole.
        asked: names of its queries, so that none is computed twice.
    """

    token: str
    folder: Path
    key_set: KeySet
    bucket: Bucket
    seen: float
    complete: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ready(self) -> bool:
        """Whether all keys are there."""
        return len(self.complete) == len(self.key_set.files)

    def received(self) -> dict[str, int]:
        """Return the bytes of each key file that have arrived."""
        return {file.name: self._size(file.name) for file in self.key_set.files}

    def append(self, name: str, offset: int, content: bytes) -> int:
        """Add a piece to a key file and return the bytes that have arrived.

        Raises:
            Refused: if the file is not listed, the piece does not follow on the last, or the whole is damaged.
        """
        with self.lock:
            file = self._listed(name)
            have = self._size(name)
            if offset != have:
                raise Refused(409, f"{name} has {have} bytes here and the piece begins at {offset}; go on from {have}")
            if have + len(content) > file.size:
                raise Refused(413, f"{name} was announced with {file.size} bytes and got {have + len(content)}")
            try:
                with (self.folder / name).open("ab") as stream:
                    stream.write(content)
            except OSError as error:
                raise Refused(507, f"the server cannot keep the keys ({error.strerror}); try later") from error
            if have + len(content) == file.size:
                self._finish(file)
            return have + len(content)

    def _finish(self, file: KeyFile) -> None:
        if keys.described(self.folder, file.name) != file:
            (self.folder / file.name).unlink()
            raise Refused(422, f"{file.name} arrived with another digest than announced; send it again from 0")
        self.complete.add(file.name)

    def _listed(self, name: str) -> KeyFile:
        for file in self.key_set.files:
            if file.name == name:
                return file
        raise Refused(404, "no key file of that name was announced")

    def _size(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0


class Sessions:
    """All clients of a server.

    Args:
        state: folder for their keys.
        circuit: what is served.
        library: backend whose keys are taken.
        limits: of the server.
        clock: seconds.
    """

    def __init__(
        self,
        state: Path,
        circuit: Servable,
        library: str,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._circuit = circuit
        self._library = library
        self._limits = limits
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def create(self, announced: object) -> Session:
        """Begin a session for the keys that a client announces.

        Raises:
            Refused: if the keys are for another circuit, too large, or there are too many clients.
        """
        key_set = self._accepted(announced)
        with self._lock:
            if len(self._sessions) >= self._limits.sessions:
                raise Refused(503, f"{len(self._sessions)} clients are served already; try again later")
            token = secrets.token_urlsafe(32)
            folder = self._state / secrets.token_hex(8)
            folder.mkdir(parents=True, mode=0o700)
            replace(folder / keys.LISTING, json.dumps(key_set.to_json()))
            bucket = Bucket(self._limits.rate, self._clock)
            session = Session(token=token, folder=folder, key_set=key_set, bucket=bucket, seen=self._clock())
            self._sessions[token] = session
            return session

    def _accepted(self, announced: object) -> KeySet:
        if not isinstance(announced, dict):
            raise Refused(422, "the listing of keys is no JSON object; send keys.json")
        try:
            key_set = KeySet.from_json(announced)
        except BadInput as error:
            raise Refused(422, str(error)) from error
        if key_set.library != self._library:
            raise Refused(422, f"keys of {key_set.library} do not fit {self._library}; make keys with that backend")
        if key_set.parameters != self._circuit.parameters:
            raise Refused(422, "the keys are of other parameters than the package; run: unmask he keygen PACKAGE")
        missing = set(self._circuit.rotations) - set(key_set.rotations)
        if missing:
            raise Refused(
                422, f"{len(missing)} rotation keys of the package are missing; run: unmask he keygen PACKAGE"
            )
        if key_set.size > self._limits.keys:
            raise Refused(413, f"keys of {key_set.size} bytes are more than the {self._limits.keys} that are taken")
        return key_set

    def get(self, token: str) -> Session:
        """Return a client's session.

        Raises:
            Refused: if there is none with this token.
        """
        with self._lock:
            for known, session in self._sessions.items():
                if hmac.compare_digest(known.encode(), token.encode()):
                    session.seen = self._clock()
                    return session
        raise Refused(401, "no session has this token, or it was silent for too long; begin another")

    def remove(self, session: Session) -> None:
        """Forget a client and delete its keys."""
        with self._lock:
            self._sessions.pop(session.token, None)
        shutil.rmtree(session.folder, ignore_errors=True)

    def expired(self) -> tuple[Session, ...]:
        """Return the sessions that were silent for too long."""
        with self._lock:
            oldest = self._clock() - self._limits.idle
            return tuple(session for session in self._sessions.values() if session.seen < oldest)

    def close(self) -> None:
        """Forget all clients."""
        for session in list(self._sessions.values()):
            self.remove(session)
