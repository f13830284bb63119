"""Public data sets by name: from the hub, or from local parquet folders with the same schema."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from unmask.errors import BadInput, MissingExtra
from unmask.victims import images
from unmask.vision import Images

NO_LABEL = -1
"""What the hidden test labels of GLUE read."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a data set is on the hub and what its columns are called.

    Args:
        hub: name of the repository.
        folder: of the configuration inside it.
        columns: of a text and of the second one of a pair; empty for images.
    """

    hub: str
    folder: str
    columns: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text of a data set.

    Args:
        text: the sentence, or a line of running text.
        pair: the second sentence, or None.
        label: class index, similarity, or None.
    """

    text: str
    pair: str | None
    label: float | None


_GLUE = {
    "cola": ("sentence",),
    "sst2": ("sentence",),
    "mrpc": ("sentence1", "sentence2"),
    "stsb": ("sentence1", "sentence2"),
    "rte": ("sentence1", "sentence2"),
    "wnli": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"),
    "qnli": ("question", "sentence"),
    "mnli": ("premise", "hypothesis"),
}

SOURCES: Mapping[str, Source] = {
    "cifar10": Source(hub="uoft-cs/cifar10", folder="plain_text"),
    "cifar100": Source(hub="uoft-cs/cifar100", folder="cifar100"),
    "tiny-imagenet": Source(hub="zh-plus/tiny-imagenet", folder="data"),
    "wikitext-2": Source(hub="Salesforce/wikitext", folder="wikitext-2-raw-v1", columns=("text",)),
    "wikitext-103": Source(hub="Salesforce/wikitext", folder="wikitext-103-raw-v1", columns=("text",)),
    **{f"glue-{name}": Source(hub="nyu-mll/glue", folder=name, columns=columns) for name, columns in _GLUE.items()},
}


def files(name: str, split: str, *, root: Path | None = None, online: bool = False) -> tuple[Path, ...]:
    """Return the parquet files of one split, in order.

    Args:
        name: one of `SOURCES`.
        split: such as `train`, `validation`, `test`, or `validation_matched`.
        root: local folder: that of the repository, of the configuration, or one that holds a folder NAME.
        online: fetch from the hub what is not in its cache.

    Raises:
        BadInput: if the name is unknown or there is no such split.
    """
    if name not in SOURCES:
        raise BadInput("data", name, "is unknown", f"name one of: {', '.join(SOURCES)}")
    source = SOURCES[name]
    if root is None:
        root = _cached(source, split, online)
    for folder in (root / source.folder, root / name, root):
        found = sorted(file for file in folder.glob(f"{split}*.parquet") if _of_split(file, split))
        if found:
            return tuple(found)
    rule = f"has no {split}-*.parquet of {name}"
    raise BadInput("data", str(root), rule, f"copy the files of {source.hub}/{source.folder} there")


def pictures(
    name: str, split: str, *, root: Path | None = None, online: bool = False, limit: int | None = None, seed: int = 0
) -> Images:
    """Return the images of one split, with labels, in a seeded order.

    Args:
        name: `cifar10`, `cifar100` (its 100 fine labels) or `tiny-imagenet`.
        split: such as `train`.
        root: local folder, or None for the hub's cache.
        online: fetch what is not there.
        limit: how many to draw; None for all.
        seed: of the order.

    Raises:
        BadInput: if it is no data set of images, or nothing readable is there.
        MissingExtra: if pyarrow is not installed.
    """
    found = files(name, split, root=root, online=online)
    if SOURCES[name].columns:
        raise BadInput("data", name, "holds texts", "read it with `texts`")
    return images.from_parquet(found, limit, seed, argument="data")


def texts(name: str, split: str, *, root: Path | None = None, online: bool = False) -> Iterator[Row]:
    """Yield the texts of one split in the file's order; empty lines of running text are left out.

    Args:
        name: a `glue-TASK`, `wikitext-2` or `wikitext-103`.
        split: such as `train`.
        root: local folder, or None for the hub's cache.
        online: fetch what is not there.

    Raises:
        BadInput: if it is no data set of texts, a column is missing, or nothing readable is there.
        MissingExtra: if pyarrow is not installed.
    """
    found = files(name, split, root=root, online=online)
    columns = SOURCES[name].columns
    if not columns:
        raise BadInput("data", name, "holds images", "read it with `pictures`")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    for file in found:
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise BadInput("data", str(file), f"cannot be read ({error})", "fetch it again") from error
        missing = [column for column in columns if column not in table.column_names]
        if missing:
            raise BadInput("data", str(file), f"has no column {missing[0]!r}", "keep the names of the hub")
        for row in table.to_pylist():
            if row[columns[0]].strip():
                yield _row(row, columns)


def _row(row: Mapping[str, Any], columns: tuple[str, ...]) -> Row:
    label = row.get("label")
    known = None if label is None or label == NO_LABEL else float(label)
    return Row(text=row[columns[0]], pair=row[columns[1]] if len(columns) > 1 else None, label=known)


def _of_split(file: Path, split: str) -> bool:
    # `validation` must not take `validation_matched-00000-of-00001.parquet`.
    rest = file.stem.removeprefix(split)
    return not rest or rest.startswith("-")


def _cached(source: Source, split: str, online: bool) -> Path:
    pattern = f"{source.folder}/{split}-*.parquet"
    try:
        folder = snapshot_download(
            source.hub, repo_type="dataset", allow_patterns=[pattern], local_files_only=not online
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        remedy = "give a local folder as root, or allow the hub with online=True"
        raise BadInput("data", source.hub, f"is not in the hub's cache ({reason})", remedy) from error
    return Path(folder)
