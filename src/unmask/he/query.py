"""A query and its answer: several ciphertexts under one name, in one upload."""

import secrets
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from unmask.errors import BadInput
from unmask.he.envelope import seal, unseal

IDENTITY = 16
"""Bytes of a query's name: drawn at random, so that no two are the same by chance."""


def new_name() -> str:
    """Return a name for a query."""
    return secrets.token_hex(IDENTITY)


def packed(kind: str, *, name: str, key: str, package: str, ciphertexts: Sequence[bytes]) -> bytes:
    """Return ciphertexts in one piece.

    Args:
        kind: `query` or `answer`.
        name: of the query.
        key: name of the key set.
        package: digest of the circuit.
        ciphertexts: sealed ones.
    """
    header = {"query": name, "key": key, "package": package, "sizes": [len(part) for part in ciphertexts]}
    return seal(kind, header, b"".join(ciphertexts))


def unpacked(kind: str, content: bytes, *, key: str, package: str) -> tuple[str, tuple[bytes, ...]]:
    """Return the name and the ciphertexts.

    Raises:
        BadInput: if it is truncated, for another key or another circuit.
    """
    header, payload = unseal(kind, content, kind, {"key": key, "package": package})
    sizes: Any = header.get("sizes")
    name = header.get("query")
    sound = isinstance(sizes, list) and all(isinstance(size, int) and size >= 0 for size in sizes)
    if not sound or sum(sizes) != len(payload) or not isinstance(name, str) or len(name) != 2 * IDENTITY:
        raise BadInput(kind, name, "has a header that does not fit its content", "send it again")
    ends = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    return name, tuple(payload[start:end] for start, end in pairwise(ends))
