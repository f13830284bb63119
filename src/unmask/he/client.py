"""The client: encrypts here, sends ciphertexts and public keys, decrypts here."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.errors import BadInput, MissingExtra, UnmaskError
from unmask.he import keys, query
from unmask.storage import replace

try:
    import httpx
except ImportError as error:
    raise MissingExtra("httpx", "he") from error

SESSION = "session.json"
TRIES = 5


class ServerRefused(UnmaskError):
    """The server did not serve a request, in its own words.

    Args:
        status: of HTTP.
        reason: one sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server refused ({status}): {reason}")
        self.status = status


class ServerGone(UnmaskError):
    """The server cannot be reached or does not answer in time."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back.

    Args:
        ciphertexts: sealed ones, for the key holder.
        seconds: that the server computed.
        waited: seconds from sending to receiving.
        sent: bytes of the query.
        received: bytes of the answer.
    """

    ciphertexts: tuple[bytes, ...]
    seconds: float
    waited: float
    sent: int
    received: int


def _quiet(_: str) -> None:
    """Say nothing."""


class Client:
    """Talks to one server with the keys of one folder; the secret key is never read here.

    Args:
        http: a client of httpx whose base address is the server's.
        folder: the client's keys.
        say: told of what takes long.
        patience: seconds to wait for an answer.
        pause: seconds between two looks at a query.
    """

    def __init__(
        self,
        http: httpx.Client,
        folder: Path,
        *,
        say: Callable[[str], None] = _quiet,
        patience: float = 3600.0,
        pause: float = 0.25,
    ) -> None:
        self._http = http
        self._folder = folder
        self._keys = keys.listing(folder / keys.PUBLIC)
        self._say = say
        self._patience = patience
        self._pause = pause
        self._token = ""

    def package(self) -> dict[str, Any]:
        """Return what the server serves."""
        return self._json("GET", "/package")

    def connect(self) -> None:
        """Take up the session of this folder or begin one, and upload what the server lacks of the keys.

        Raises:
            ServerRefused: if the server does not take these keys.
            ServerGone: if it cannot be reached.
        """
        held = self._held()
        if not held:
            begun = self._json("POST", "/session", content=json.dumps(self._keys.to_json()).encode())
            self._token = str(begun["token"])
            self._remember()
            held = self._json("GET", "/session")
        self._upload(held["received"])

    def _held(self) -> dict[str, Any]:
        known = self._known()
        if known.get("server") != str(self._http.base_url) or known.get("key") != self._keys.key:
            return {}
        self._token = str(known.get("token", ""))
        try:
            return self._json("GET", "/session")
        except ServerRefused as error:
            if error.status == 401:
                self._token = ""
                return {}
            raise

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads((self._folder / SESSION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _remember(self) -> None:
        text = {"server": str(self._http.base_url), "key": self._keys.key, "token": self._token}
        path = replace(self._folder / SESSION, json.dumps(text))
        os.chmod(path, 0o600)

    def _upload(self, received: dict[str, int]) -> None:
        chunk = int(self.package()["chunk"])
        missing = self._keys.size - sum(received.values())
        if missing:
            self._say(f"uploading {missing / 2**20:.0f} MiB of public keys")
        for file in self._keys.files:
            offset = int(received.get(file.name, 0))
            with (self._folder / keys.PUBLIC / file.name).open("rb") as stream:
                stream.seek(offset)
                while piece := stream.read(chunk):
                    offset = self._sent(file.name, offset, piece)
                    stream.seek(offset)

    def _sent(self, name: str, offset: int, piece: bytes) -> int:
        """Send one piece and return where the next begins; after a broken connection, ask how far it came."""
        for _ in range(TRIES - 1):
            try:
                return self._put(name, offset, piece)
            except ServerGone:
                time.sleep(self._pause)
            # The piece may have arrived although its answer did not.
            have = int(self._json("GET", "/session")["received"][name])
            if have != offset:
                return have
        return self._put(name, offset, piece)

    def _put(self, name: str, offset: int, piece: bytes) -> int:
        return int(self._json("PUT", f"/keys/{name}", content=piece, params={"offset": offset})["received"])

    def ask(self, package: str, ciphertexts: Sequence[bytes]) -> Answer:
        """Send encrypted inputs and wait for the encrypted answer.

        Args:
            package: digest of the circuit that they are for.
            ciphertexts: sealed ones.

        Raises:
            ServerRefused: if the server does not take the query, or fails at it.
            ServerGone: if no answer comes in time.
        """
        name, began = query.new_name(), time.monotonic()
        content = query.packed("query", name=name, key=self._keys.key, package=package, ciphertexts=ciphertexts)
        self._json("POST", "/queries", content=content)
        state: dict[str, Any] = {}
        said = ""
        while state.get("state") != "done":
            state = self._json("GET", f"/queries/{name}")
            if state["state"] == "failed":
                raise ServerRefused(500, state["reason"])
            if time.monotonic() - began > self._patience:
                raise ServerGone(f"no answer within {self._patience:g} s; the server goes on with it")
            if state["state"] != "done":
                # Only what changed: a query of minutes is looked at hundreds of times.
                said = self._news(said, _progress(state))
                time.sleep(self._pause)
        answer = self._request("GET", f"/queries/{name}/answer").content
        found, parts = query.unpacked("answer", answer, key=self._keys.key, package=package)
        _same(found, name)
        waited = time.monotonic() - began
        seconds = float(state["seconds"])
        return Answer(ciphertexts=parts, seconds=seconds, waited=waited, sent=len(content), received=len(answer))

    def _news(self, said: str, now: str) -> str:
        if now != said:
            self._say(now)
        return now

    def leave(self) -> None:
        """End the session: the server deletes the public keys."""
        self._request("DELETE", "/session")
        (self._folder / SESSION).unlink(missing_ok=True)

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            found = self._request(method, path, **more).json()
        except ValueError as error:
            raise ServerRefused(502, "it answered with something that is no JSON; is the address right?") from error
        if not isinstance(found, dict):
            raise ServerRefused(502, "it answered with something else; is the address right?")
        return found

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            answer = self._http.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ServerGone(
                f"{self._http.base_url} cannot be reached ({reason}); is unmask he serve running?"
            ) from error
        if answer.is_success:
            return answer
        try:
            reason = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            reason = answer.reason_phrase
        raise ServerRefused(answer.status_code, reason)


def _same(found: str, asked: str) -> None:
    if found != asked:
        raise BadInput("answer", found, "is to another query", "ask again, and ask whoever runs the server why")


def _progress(state: dict[str, Any]) -> str:
    if state["state"] == "queued":
        return f"queued, {state['position']} before"
    return f"computing, {float(state['share']):.0%} {state['step']}".rstrip()
