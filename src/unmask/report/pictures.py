"""Pictures of a run's folder as parts of the page."""

import base64
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST = 2**21
"""Files above this many bytes stay outside the page."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture, or why there is none.

    Args:
        data: the file as a `data:` address, or empty.
        alternative: what it shows, in words.
        lack: why there is none, or empty.
    """

    data: str
    alternative: str
    lack: str


def shown(folder: Path, path: str, what: str) -> Shown:
    """Read a picture of a run.

    Args:
        folder: the run's folder.
        path: the file inside it, or empty if there is none.
        what: what it shows.
    """
    if not path:
        return Shown(data="", alternative=what, lack="masked" if what == "Secret" else "none")
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        # Records may come from elsewhere; the page must not carry other files of this machine.
        return Shown(data="", alternative=what, lack="outside the run's folder")
    try:
        file = folder / path
        if file.stat().st_size > LARGEST:
            return Shown(data="", alternative=what, lack="too large for the page")
        content = file.read_bytes()
    except OSError:
        return Shown(data="", alternative=what, lack="file is missing")
    if not content.startswith(SIGNATURE):
        return Shown(data="", alternative=what, lack="file is no PNG")
    return Shown(data="data:image/png;base64," + base64.b64encode(content).decode(), alternative=what, lack="")
