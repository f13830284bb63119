"""The client's folder of keys: the secret one apart, the public ones listed with size and digest for upload."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.errors import BadInput, StorageError
from unmask.he.envelope import fingerprint, seal, unseal
from unmask.he.parameters import Parameters
from unmask.storage import replace

VERSION = 1
LISTING = "keys.json"
SECRET = "secret.key"
PUBLIC = "public"
BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class KeyFile:
    """A file of public keys.

    Args:
        name: its name in the folder.
        size: bytes.
        digest: SHA-256 in hexadecimal.
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """What a set of public keys consists of.

    Args:
        key: name of the set, drawn from the digest of the public key.
        parameters: ring, levels and scale.
        library: the backend that made it, `openfhe` or `simulator`.
        rotations: steps that there are keys for.
        files: all of them.
    """

    key: str
    parameters: Parameters
    library: str
    rotations: tuple[int, ...]
    files: tuple[KeyFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        files = [{"name": file.name, "size": file.size, "digest": file.digest} for file in self.files]
        plain = {"version": VERSION, "key": self.key, "library": self.library, "rotations": list(self.rotations)}
        return plain | {"parameters": self.parameters.to_json(), "files": files}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "KeySet":
        """Return what `to_json` wrote.

        Raises:
            BadInput: if a field is missing or of the wrong kind, or a file's name is a path.
        """
        try:
            return _parsed(data)
        except BadInput:
            raise
        except (KeyError, TypeError, ValueError) as wrong:
            raise BadInput("keys", "the listing", f"is incomplete ({wrong})", "make the keys again") from wrong


def _parsed(data: Mapping[str, Any]) -> KeySet:
    if data["version"] != VERSION:
        raise BadInput("keys", data["version"], "are of another version", f"make keys of version {VERSION}")
    files = tuple(
        KeyFile(name=_plain(file["name"]), size=int(file["size"]), digest=str(file["digest"])) for file in data["files"]
    )
    sound = all(file.size > 0 and file.name.endswith(".key") for file in files)
    if not files or not sound or len({file.name for file in files}) != len(files):
        raise BadInput("keys", "the listing", "names a file twice, an empty one or none", "make the keys again")
    return KeySet(
        key=_plain(data["key"]),
        parameters=Parameters.from_json(data["parameters"]),
        library=str(data["library"]),
        rotations=tuple(int(step) for step in data["rotations"]),
        files=files,
    )


def _plain(name: object) -> str:
    text = str(name)
    allowed = text.replace(".", "").replace("-", "").replace("_", "")
    if not (allowed.isascii() and allowed.isalnum()) or text.startswith(".") or len(text) > 80:
        raise BadInput("keys", text, "holds a name that is no plain file name", "use letters, digits, dots and hyphens")
    return text


def fresh_folder(folder: Path) -> Path:
    """Make a client's folder, readable by its owner only, and return the one in it for public keys.

    Raises:
        BadInput: if there are keys already: a lost secret key cannot be had again.
        StorageError: if it cannot be made.
    """
    if (folder / SECRET).exists():
        raise BadInput("--out", str(folder), "holds keys already", "name another folder, or delete it yourself")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        public = folder / PUBLIC
        public.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(str(folder), error.strerror or str(error)) from error
    return public


def write(folder: Path, keys: KeySet, secret: bytes) -> None:
    """Write the listing of the public keys and, with mode 0600 from its first byte on, the secret one.

    Raises:
        StorageError: if a file cannot be written.
    """
    header = {"key": keys.key, "parameters": fingerprint(keys.parameters), "library": keys.library}
    path = folder / SECRET
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(seal("secret key", header, secret))
            os.fsync(descriptor)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error)) from error
    replace(folder / PUBLIC / LISTING, json.dumps(keys.to_json(), indent=2) + "\n")


def listing(folder: Path) -> KeySet:
    """Return the listing of a folder of public keys.

    Raises:
        BadInput: if there is none, or it is damaged.
    """
    path = folder / LISTING
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("--keys", str(folder), f"holds no listing of keys ({error})", "run: unmask he keygen") from error
    return KeySet.from_json(data)


def secret(folder: Path, keys: KeySet) -> bytes:
    """Return the secret key of a client's folder.

    Raises:
        BadInput: if it is missing, of other keys, damaged, or readable by others.
    """
    path = folder / SECRET
    try:
        mode = path.stat().st_mode & 0o777
        content = path.read_bytes()
    except OSError as error:
        raise BadInput("--keys", str(path), f"cannot be read ({error.strerror})", "run: unmask he keygen") from error
    if mode & 0o077:
        raise BadInput("--keys", str(path), f"has mode {mode:o}, so that others can read it", f"run: chmod 600 {path}")
    expected = {"key": keys.key, "parameters": fingerprint(keys.parameters)}
    return unseal("secret key", content, "secret key", expected)[1]


def described(folder: Path, name: str) -> KeyFile:
    """Return a file's size and digest, read block by block."""
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
    return KeyFile(name=name, size=size, digest=digest.hexdigest())
