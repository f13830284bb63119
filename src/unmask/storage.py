"""Files that are there whole or not at all."""

import os
from pathlib import Path

from unmask.errors import StorageError


def replace(path: Path, text: str) -> Path:
    """Write text to a file so that a reader sees the old file or the new one, never half of one.

    Args:
        path: the file; missing folders above it are made.
        text: its content. Halves of surrogate pairs, which UTF-8 cannot hold, become `?`.

    Returns:
        The path.

    Raises:
        StorageError: if the disk is full or the file cannot be written; an old file stays.
    """
    return replace_bytes(path, text.encode("utf-8", "replace"))


def replace_bytes(path: Path, content: bytes) -> Path:
    """Write bytes to a file so that a reader sees the old file or the new one, never half of one.

    Args:
        path: the file; missing folders above it are made.
        content: its content.

    Returns:
        The path.

    Raises:
        StorageError: if the disk is full or the file cannot be written; an old file stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        _remove(partial)
        raise StorageError(str(path), error.strerror or str(error)) from error
    return path


def _remove(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return  # the first error is the one to report
