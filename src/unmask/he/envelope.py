"""Files and uploads that say what they are: a versioned header, its payload, and a digest of both."""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from unmask.errors import BadInput
from unmask.he.parameters import Parameters

MAGIC = b"UNMASKHE"
VERSION = 1
LONGEST_HEADER = 65536
_LENGTHS = struct.Struct(">HIQ")


def fingerprint(parameters: Parameters) -> str:
    """Return a short digest of parameters: what only fits one set is marked with it."""
    text = json.dumps(parameters.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seal(kind: str, header: Mapping[str, Any], payload: bytes) -> bytes:
    """Return magic, version, lengths, header as JSON, payload, and SHA-256 of all before it.

    The digest tells damage from a wrong key; it is no signature.
    """
    text = json.dumps({"kind": kind, **header}, sort_keys=True).encode()
    body = b"".join((MAGIC, _LENGTHS.pack(VERSION, len(text), len(payload)), text, payload))
    return body + hashlib.sha256(body).digest()


def unseal(name: str, content: bytes, kind: str, expected: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return header and payload.

    Args:
        name: what to call it in an error.
        content: what `seal` returned.
        kind: what it has to be, such as `ciphertext`.
        expected: header entries that have to be as given, such as the key's name.

    Raises:
        BadInput: if it is something else, truncated, damaged, of another version, or an entry differs.
    """
    start = len(MAGIC) + _LENGTHS.size
    shown = f"{len(content)} bytes"
    if content[: len(MAGIC)] != MAGIC or len(content) < start:
        raise BadInput(name, shown, "are no file of encrypted inference", f"give a {kind} that unmask he wrote")
    version, head, tail = _LENGTHS.unpack(content[len(MAGIC) : start])
    if version != VERSION:
        raise BadInput(name, f"version {version}", "cannot be read here", f"write it with version {VERSION}")
    if head > LONGEST_HEADER or len(content) != start + head + tail + 32:
        raise BadInput(
            name, shown, "are truncated or too long", f"{start + head + tail + 32} were announced; send again"
        )
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise BadInput(name, shown, "are damaged: the digest differs", "send it again")
    header = json.loads(content[start : start + head])
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise BadInput(
            name, header.get("kind") if isinstance(header, dict) else header, f"is no {kind}", f"give a {kind}"
        )
    for entry, value in expected.items():
        if header.get(entry) != value:
            raise BadInput(
                name, header.get(entry), f"is of another {entry} than {value!r}", "use what belongs together"
            )
    return header, content[start + head : -32]
