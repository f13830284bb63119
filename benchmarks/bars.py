"""Print every measured row from the files; exit 1 if one falls short. Nothing is computed."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.rows import COLUMNS, RESULTS, TOPICS, Row, load
from unmask.errors import UnmaskError

NUMERIC = ("measured", "control", "n", "seconds")


def table(topic: str, rows: tuple[Row, ...]) -> Table:
    """Return the rows of one topic as a table."""
    result = Table(title=topic, title_justify="left")
    for name in COLUMNS:
        result.add_column(name, justify="right" if name in NUMERIC else "left", overflow="fold")
    for row in rows:
        # Text, because a setting in square brackets would be read as markup.
        result.add_row(*(Text(cell) for cell in row.cells()), style=None if row.holds else "bold red")
    return result


def main(folder: Path = RESULTS, console: Console | None = None) -> int:
    """Print the tables and return the exit code: 0 all hold, 1 one falls short, 2 nothing to read."""
    console = console or Console()
    try:
        topics = {topic: rows for topic in TOPICS if (rows := load(topic, folder=folder))}
    except UnmaskError as error:
        console.print(Text(str(error)))
        return 2
    if not topics:
        console.print("No row was measured yet; run: make bench TOPIC=gradients")
        return 2
    for topic, rows in topics.items():
        console.print(table(topic, rows))
    every = [row for rows in topics.values() for row in rows]
    short = sum(not row.holds for row in every)
    console.print(f"{len(every)} rows, {short} short.")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
