"""Print every measured row from the files; exit 1 if one falls short. Nothing is computed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.rows import COLUMNS, RESULTS, TOPICS, Row, load
from unmask.errors import UnmaskError

NUMERIC = ("measured", "control", "n", "seconds")
WIDE = 200
"""Columns of a terminal from which a table of nine columns can be read."""


def lines(topic: str, rows: Sequence[Row]) -> Text:
    """Return the rows of one topic as three lines each, for a narrow terminal or a log."""
    text = Text(f"\n{topic}\n", style="bold")
    for row in rows:
        setting, bar, measured, unit, _, control, n, seconds, reason = row.cells()
        found = f"{measured} {unit}".rstrip() + f" (bar {bar}" + (f", control {control})" if control else ")")
        style = "not bold" if row.holds else "bold red"
        text.append(f"{'ok   ' if row.holds else 'SHORT'} {setting}\n", style)
        text.append(f"        {found}; n = {n}, {seconds} s\n", style)
        if reason:
            text.append(f"        {reason}\n", "not bold dim")
    return text


def table(topic: str, rows: tuple[Row, ...]) -> Table:
    """Return the rows of one topic as a table."""
    result = Table(title=topic, title_justify="left")
    for name in COLUMNS:
        result.add_column(name, justify="right" if name in NUMERIC else "left", overflow="fold")
    for row in rows:
        # Text, because a setting in square brackets would be read as markup.
        result.add_row(*(Text(cell) for cell in row.cells()), style=None if row.holds else "bold red")
    return result


def main(folder: Path = RESULTS, console: Console | None = None, *, short_only: bool = False) -> int:
    """Print the rows and return the exit code: 0 all hold, 1 one falls short, 2 nothing to read.

    Args:
        folder: where the rows are.
        console: where they are printed: a table where it is wide, lines where it is not.
        short_only: print only the rows that fall short; all are counted.
    """
    console = console or Console(soft_wrap=not sys.stdout.isatty())
    try:
        topics = {topic: rows for topic in TOPICS if (rows := load(topic, folder=folder))}
    except UnmaskError as error:
        console.print(Text(str(error)))
        return 2
    if not topics:
        console.print("No row was measured yet; run: make bench TOPIC=gradients")
        return 2
    for topic, rows in topics.items():
        shown = tuple(row for row in rows if not (short_only and row.holds))
        if shown:
            console.print(table(topic, shown) if console.width >= WIDE else lines(topic, shown))
    every = [row for rows in topics.values() for row in rows]
    short = sum(not row.holds for row in every)
    console.print(f"{len(every)} rows, {short} short.")
    return 1 if short else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bars", description=__doc__)
    parser.add_argument("--short", action="store_true", help="print only the rows that fall short")
    sys.exit(main(short_only=parser.parse_args().short))
