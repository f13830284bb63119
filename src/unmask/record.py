"""One finished run as one JSON line."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from unmask.errors import BadInput, StorageError

SCHEMA = 1


class Outcome(StrEnum):
    """How an attack ended, judged from the attacker's side alone.

    `CERTIFIED`: replaying the guess reproduces the observation to rounding.
    `APPROXIMATE`: a guess was returned, its replay does not match to rounding.
    `EXHAUSTED`: the budget ended before a certificate was found.
    `ABSENT`: the observation provably does not carry the information.
    `SKIPPED`: the attack does not apply to this observation.
    """

    CERTIFIED = "certified"
    APPROXIMATE = "approximate"
    EXHAUSTED = "exhausted"
    ABSENT = "absent"
    SKIPPED = "skipped"


ADVICE: Mapping[Outcome, str] = {
    Outcome.CERTIFIED: "the guess is proved: its replay equals what was seen, to rounding",
    Outcome.APPROXIMATE: "the guess is unproved: read it next to the null control",
    Outcome.EXHAUSTED: "the budget ended first: raise --budget, or show more components",
    Outcome.ABSENT: "nothing to find here: what was seen does not depend on the rest of the input",
    Outcome.SKIPPED: "the attack does not apply to this surface: choose another --attack",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The part of the model that the adversary saw.

    Args:
        layer: layer index, or None for tensors outside the layers.
        component: the component's name, such as `query`; several are joined by `+`.
        parameters: how many numbers were seen.
        share: `parameters` divided by the number of parameters of the model.
    """

    layer: int | None
    component: str
    parameters: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Secret and recovered sequences side by side, redacted unless the user asked otherwise.

    Args:
        secret: one string per sequence of the batch.
        recovered: the sequence matched to each secret; empty string where none was.
        matches: for each sequence, one flag per word of `recovered`: is it in the secret?
        redacted: whether the words of both were masked.
    """

    secret: tuple[str, ...]
    recovered: tuple[str, ...]
    matches: tuple[tuple[bool, ...], ...]
    redacted: bool


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A secret image beside what was recovered of it: paths of PNG files in the run's folder.

    Args:
        secret: path of the secret image, or empty if it is not to be shown.
        recovered: path of the recovered image, or empty if nothing was.
    """

    secret: str
    recovered: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One attack on one observation: what was seen, what came out, and what it cost.

    Args:
        key: digest of everything that determines the run; `--resume` skips keys it has.
        model: the victim's name.
        surface: the surface's name and settings.
        attack: the attack's name and settings.
        cell: which part of the model was visible.
        item: index of the batch in the corpus, its size and its number of tokens.
        knowledge: the adversary's knowledge, one sentence each.
        outcome: how the attack ended.
        reason: one clause that explains the outcome.
        texts: secret beside recovered.
        scores: metric name to value in [0, 1].
        null: the same metrics for the guess against the secrets of *other* items, from which it was not
            recovered; summed over a cell this equals scoring the other items' guesses against this secret.
        trivial: the same metrics for a guess that saw nothing.
        certificate: relative replay residual, or None when it was not computed.
        seconds: wall-clock time of the attack alone.
        seed: the run's seed.
        versions: package name to version.
        measures: further numbers with their unit in the name, such as `psnr_db`.
        pictures: secret images beside recovered ones.
        artefacts: files written beside the record, relative to its folder.
        schema: version of this layout.
    """

    key: str
    model: str
    surface: Mapping[str, object]
    attack: Mapping[str, object]
    cell: Cell
    item: Mapping[str, int]
    knowledge: tuple[str, ...]
    outcome: Outcome
    reason: str
    texts: Texts
    scores: Mapping[str, float]
    null: Mapping[str, float]
    trivial: Mapping[str, float]
    certificate: float | None
    seconds: float
    seed: int
    versions: Mapping[str, str]
    measures: Mapping[str, float] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = field(default=())
    artefacts: tuple[str, ...] = field(default=())
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @staticmethod
    def from_json(line: str) -> "Record":
        """Read one line of JSON.

        Raises:
            BadInput: if the line is no record of this schema.
        """
        try:
            data = json.loads(line)
            if data["schema"] != SCHEMA:
                remedy = f"read it with a version that writes schema {data['schema']}"
                raise BadInput("record", data["schema"], "has an unknown schema", remedy)
            data["cell"] = Cell(**data["cell"])
            texts = data["texts"]
            data["texts"] = Texts(
                secret=tuple(texts["secret"]),
                recovered=tuple(texts["recovered"]),
                matches=tuple(tuple(row) for row in texts["matches"]),
                redacted=texts["redacted"],
            )
            data["outcome"] = Outcome(data["outcome"])
            data["knowledge"] = tuple(data["knowledge"])
            data["artefacts"] = tuple(data["artefacts"])
            data["pictures"] = tuple(Picture(**picture) for picture in data.get("pictures", ()))
            return Record(**data)
        except BadInput:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput("record", line, f"is no record ({error})", "delete the line or the file") from error


def digest(spec: Mapping[str, object]) -> str:
    """Return a short stable digest of a JSON-serialisable mapping."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, default=str).encode()).hexdigest()[:16]


def append(path: Path, record: Record) -> None:
    """Append one record and flush it to the disk, so that a kill loses at most the run under way.

    Raises:
        StorageError: if the disk is full or the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(record.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error)) from error


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file; a last line cut short by a kill is passed over.

    Raises:
        BadInput: if a line other than an unfinished last one is no record.
    """
    if not path.exists():
        return
    # What follows the last newline is an unfinished write. It may end inside a character, so it goes first.
    finished = path.read_bytes().rpartition(b"\n")[0]
    try:
        text = finished.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput("record", str(path), f"is no UTF-8 ({error.reason})", "delete the damaged line") from error
    for line in text.split("\n"):
        if line:
            yield Record.from_json(line)


def mend(path: Path) -> None:
    """Cut off an unfinished last line, so that the next record begins on a line of its own.

    Args:
        path: a file of records, which need not exist.

    Raises:
        StorageError: if the file cannot be written.
    """
    try:
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error)) from error
