"""The parts of a topic, each a function that measures and returns its rows."""

import sys
from collections.abc import Callable, Iterable, Mapping

from benchmarks.rows import Row, save


def run(topic: str, parts: Mapping[str, Callable[[], Iterable[Row]]], names: list[str]) -> int:
    """Measure the named parts, all by default, and rewrite their rows; 2 for an unknown name.

    Args:
        topic: whose file is written.
        parts: by name.
        names: of the command line.
    """
    unknown = [name for name in names if name not in parts]
    if unknown:
        print(f"part {unknown[0]!r} is unknown; choose {', '.join(parts)}", file=sys.stderr)
        return 2
    for name in names or parts:
        save(topic, parts[name]())
        print("saved", name, flush=True)
    return 0
