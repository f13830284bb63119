"""Write the measured rows into the documentation, between markers; `--check` only compares.

A page asks for a table with two comment lines; what stands between them is generated:

    <!-- table: gradients -->
    <!-- end table -->

`<!-- table: privacy, Attention read -->` takes the rows alone whose setting begins so.
"""

import re
import sys
from pathlib import Path

from benchmarks.rows import COLUMNS, RESULTS, Row, load
from unmask.errors import BadInput, UnmaskError

ROOT = Path(__file__).parents[1]
_BEGIN = re.compile(r"<!-- table: (?P<topic>\w+)(?:, (?P<only>[^>]+?))? -->")
_END = "<!-- end table -->"


def markdown(topic: str, rows: tuple[Row, ...]) -> str:
    """Return the rows as a Markdown table, or a line that says there are none."""
    if not rows:
        return f"Not measured yet: `make bench TOPIC={topic}` fills this table."
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row.cells()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def filled(text: str, name: str, *, folder: Path = RESULTS) -> str:
    """Return a page's text with its tables up to date.

    Raises:
        BadInput: if a marker is not closed or names an unknown topic.
    """
    done, rest = "", text
    while match := _BEGIN.search(rest):
        begin, stop = match.end(), rest.find(_END, match.end())
        following = _BEGIN.search(rest, begin)
        if stop < 0 or (following and following.start() < stop):
            raise BadInput("page", name, f"has an open marker {match.group()}", f"close it with {_END}")
        rows = load(match["topic"], folder=folder)
        table = markdown(match["topic"], tuple(row for row in rows if row.setting.startswith(match["only"] or "")))
        done += rest[:begin] + "\n\n" + table + "\n\n" + _END
        rest = rest[stop + len(_END) :]
    return done + rest


def main(arguments: list[str], root: Path = ROOT, folder: Path = RESULTS) -> int:
    """Fill the pages, or with `--check` name those that are stale; return the exit code."""
    if set(arguments) - {"--check"}:
        print(f"arguments {arguments} are unknown; the only one is --check", file=sys.stderr)
        return 2
    stale = []
    try:
        for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
            text = page.read_text(encoding="utf-8")
            new = filled(text, page.name, folder=folder)
            if new != text:
                stale.append(page.relative_to(root).as_posix())
                if "--check" not in arguments:
                    page.write_text(new, encoding="utf-8")
    except (UnmaskError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if "--check" in arguments and stale:
        print(f"stale tables in {', '.join(stale)}; run: python -m benchmarks.docs_tables", file=sys.stderr)
        return 1
    print(f"rewritten: {', '.join(stale)}" if stale else "all tables are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
