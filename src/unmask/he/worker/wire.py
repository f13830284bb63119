"""Messages between two processes: length, header as JSON, then arrays and bytes as they are."""

import json
import struct
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

Blob = Any
"""An array of numbers, or bytes."""
_LENGTH = struct.Struct(">Q")


class Closed(Exception):
    """The other process has gone."""


def send(stream: IO[bytes], header: dict[str, Any], blobs: Sequence[Blob] = ()) -> None:
    """Write one message.

    Args:
        stream: a pipe.
        header: what JSON can hold.
        blobs: arrays of numbers, and bytes.

    Raises:
        Closed: if nobody reads any more.
    """
    shapes: list[Any] = []
    parts: list[Any] = []
    for blob in blobs:
        if isinstance(blob, bytes):
            shapes.append(["bytes", [len(blob)]])
            parts.append(blob)
        else:
            array: Any = np.ascontiguousarray(blob)
            shapes.append([array.dtype.str, list(array.shape)])
            parts.append(memoryview(array).cast("B"))
    text = json.dumps({"header": header, "blobs": shapes}).encode()
    try:
        stream.write(_LENGTH.pack(len(text)))
        stream.write(text)
        for part in parts:
            stream.write(part)
        stream.flush()
    except OSError as error:
        raise Closed(str(error)) from error


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[Any]]:
    """Read one message.

    Raises:
        Closed: if the stream ends, also within a message.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    message = json.loads(_exactly(stream, length))
    blobs: list[Any] = []
    for kind, shape in message["blobs"]:
        if kind == "bytes":
            blobs.append(bytes(_exactly(stream, shape[0])))
        else:
            dtype = np.dtype(kind)
            content = _exactly(stream, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
            blobs.append(np.frombuffer(content, dtype=dtype).reshape(shape))
    return message["header"], blobs


def _exactly(stream: IO[bytes], length: int) -> bytearray:
    content = bytearray(length)
    view, done = memoryview(content), 0
    while done < length:
        # A buffered reader's readinto returns less than was asked for where the pipe is slower.
        read = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not read:
            raise Closed("the stream ended")
        done += read
    return content
