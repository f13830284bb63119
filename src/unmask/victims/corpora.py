"""Where sentences come from: the private corpus that ships with the project, or a file of the user's.

Nothing here downloads anything. Every loader takes the name of the argument it was given under, so
that its errors speak the caller's language.
"""

import csv
import io
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from unmask.errors import BadInput, MissingExtra

SUFFIXES = (".txt", ".jsonl", ".csv")
TEXT_COLUMNS = ("text", "sentence")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One private sentence.

    Args:
        text: the sentence, without leading or trailing blanks.
        label: index of its class.
        kind: where it comes from, such as `medical` or the name of a file.
    """

    text: str
    label: int
    kind: str


def private() -> tuple[Example, ...]:
    """Return the sentences written for this project: invented persons at invented places.

    The kinds `medical`, `contact`, `chat` and `review` take turns, so that any first part of the
    corpus holds all of them. Label 1 calls for action (an emergency, a deadline, a complaint),
    label 0 does not.

    Example:
        >>> private()[2].text
        'did you tell Priyanka about the baby yet?'
    """
    text = resources.files("unmask.victims").joinpath("data/private.jsonl").read_text(encoding="utf-8")
    return tuple(Example(**json.loads(line)) for line in text.splitlines())


def from_lines(path: str | Path, *, argument: str = "path") -> tuple[Example, ...]:
    """Read the sentences of a text file.

    `.txt` holds one sentence a line, all of label 0; blank lines are passed over. `.jsonl` holds an
    object a line and `.csv` a header, both with `text` (or `sentence`) and, if they like, `label`
    and `kind`. The kind is the file's name unless the row has its own.

    Args:
        path: the file.
        argument: what the caller calls `path`; errors use it.

    Raises:
        BadInput: if the file is missing, empty, of another kind, not UTF-8, or has a row without a
            text or with a label that is no class index.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(argument, str(path), "is no file", "check the path")
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(argument, str(path), "has an unknown suffix", f"use one of {', '.join(SUFFIXES)}, or .parquet")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(argument, str(path), f"cannot be read as UTF-8 ({error})", "save it as UTF-8 text") from error
    rows = {".txt": _plain_rows, ".jsonl": _json_rows, ".csv": _csv_rows}[path.suffix.lower()]
    try:
        return _examples(rows(content), kind=path.stem, argument=argument, path=path)
    except _Unreadable as error:
        raise BadInput(argument, str(path), str(error), "mend the file") from error


def from_parquet(
    path: str | Path, limit: int | None = None, seed: int = 0, *, argument: str = "path"
) -> tuple[Example, ...]:
    """Read sentences from parquet with the column names of the Hugging Face hub, in a seeded order.

    The text column is `sentence` or `text`. With a `label` column every row needs a text; without
    one the file is running text, and its blank lines are passed over.

    Args:
        path: a `.parquet` file, or a folder whose `.parquet` files are read in the order of their names.
        limit: how many sentences to draw; None for all of them.
        seed: seed of the order. Hub files are often sorted by label, so the order is never the file's.
        argument: what the caller calls `path`; errors use it.

    Raises:
        MissingExtra: if pyarrow is not installed.
        BadInput: if nothing is there, a column is missing, `limit` is not positive, or a labelled row
            has no text.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise BadInput("limit", limit, "is not positive", "give at least 1, or None for all rows")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise BadInput(argument, str(path), "holds no .parquet file", "name a folder or a file that does")
    examples = [example for file in files for example in _parquet_file(file, argument)]
    # Drawing from the whole list keeps a smaller limit a prefix of a larger one.
    order = random.Random(seed).sample(range(len(examples)), len(examples))
    return tuple(examples[i] for i in order[:limit])


class _Unreadable(ValueError):
    """A file's content breaks its own format; the text is a clause about the file."""


def _parquet_file(file: Path, argument: str) -> tuple[Example, ...]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    if not file.is_file():
        raise BadInput(argument, str(file), "is neither a file nor a folder", "check the path")
    if file.suffix.lower() != ".parquet":
        raise BadInput(argument, str(file), "has an unknown suffix", f"use .parquet or one of {', '.join(SUFFIXES)}")
    try:
        names = pq.read_schema(file).names
        column = next((name for name in TEXT_COLUMNS if name in names), None)
        if column is None:
            columns = ", ".join(names)
            raise BadInput(argument, str(file), f"has no column 'text' or 'sentence' (it has: {columns})", "rename one")
        wanted = [column, "label"] if "label" in names else [column]
        rows = pq.read_table(file, columns=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        clause = str(error).splitlines()[0]
        raise BadInput(argument, str(file), f"is no readable parquet ({clause})", "fetch or write it again") from error
    if "label" not in names:
        rows = [row for row in rows if (row[column] or "").strip()]
    kind = file.parent.name if file.parent.name else file.stem
    return _examples(enumerate(rows, start=1), kind=kind, argument=argument, path=file)


def _plain_rows(content: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield number, {"text": line}


def _json_rows(content: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    # str.splitlines would also split at the line separators that JSON allows inside a string.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise _Unreadable(f"is no JSON in line {number} ({error.msg})") from error
        if not isinstance(row, dict):
            raise _Unreadable(f"has no JSON object in line {number}")
        yield number, row


def _csv_rows(content: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        if content.strip() and not set(TEXT_COLUMNS) & set(reader.fieldnames or ()):
            raise _Unreadable("has no header with 'text' or 'sentence'")
        for row in reader:
            # Cells beyond the header come under the name None: an unquoted comma has cut a text in two.
            if None in row:
                raise _Unreadable(f"has more cells than its header in line {reader.line_num}, quote texts with commas")
            yield reader.line_num, row
    except csv.Error as error:
        raise _Unreadable(f"is no CSV in line {reader.line_num} ({error})") from error


def _examples(
    rows: Iterable[tuple[int, Mapping[str, object]]], *, kind: str, argument: str, path: Path
) -> tuple[Example, ...]:
    examples = []
    for number, row in rows:
        text = next((row[name] for name in TEXT_COLUMNS if name in row), None)
        if not isinstance(text, str) or not text.strip():
            raise BadInput(argument, str(path), f"has no text in row {number}", "fill the row in or delete it")
        label = _label(row.get("label"))
        if label is None:
            rule = f"has the label {row['label']!r} in row {number}, which is no class index"
            raise BadInput(argument, str(path), rule, "use 0, 1, 2, ..., or leave the labels out")
        own = row.get("kind")
        examples.append(Example(text=text.strip(), label=label, kind=own if isinstance(own, str) and own else kind))
    if not examples:
        raise BadInput(argument, str(path), "holds no sentence", "give a file with at least one")
    return tuple(examples)


def _label(value: object) -> int | None:
    """Return the class index, 0 for an absent one, or None if it is none."""
    if value is None or value == "":
        return 0
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
