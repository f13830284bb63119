"""Secret beside recovered, cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.record import ADVICE, Outcome, Record
from unmask.report import form, marked, words
from unmask.report.cells import CellView, State
from unmask.report.kinds import TEXT
from unmask.report.marked import Piece
from unmask.report.pictures import Shown, shown
from unmask.report.rows import Row, name


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What one attack made of one secret.

    Args:
        who: what the line is called.
        baseline: whether it is the published method.
        sentences: the marked words of each sequence; empty where nothing was recovered.
        tally: for each sequence, how many of the words agree.
        pictures: recovered images, in the order of the secrets.
        exact: whether the whole item came back.
        proof: outcome, residual and time in one line.
        advice: what the outcome means.
    """

    who: str
    baseline: bool
    sentences: tuple[tuple[Piece, ...], ...]
    tally: tuple[str, ...]
    pictures: tuple[Shown, ...]
    exact: bool
    proof: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """One text or batch and the guesses at it.

    Args:
        label: its number, and the size where it is a batch.
        secret: the marked words of each sequence.
        pictures: secret images.
        redacted: whether words or pictures are masked.
        guesses: the strongest attack first.
    """

    label: str
    secret: tuple[tuple[Piece, ...], ...]
    pictures: tuple[Shown, ...]
    redacted: bool
    guesses: tuple[Guess, ...]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One cell to unfold.

    Args:
        anchor: identifier in the page.
        layer: the layer, spoken.
        component: the component, spoken.
        state: the cell's state.
        tally: how many items came back exactly.
        facts: short numbers of the fold's heading.
        note: why the cell is absent or was not measured, or empty.
        items: the texts.
    """

    anchor: str
    layer: str
    component: str
    state: State
    tally: str
    facts: str
    note: str
    items: tuple[Item, ...]


def folds(cells: Sequence[CellView], records: Sequence[Record], path: Path) -> tuple[tuple[str, tuple[Fold, ...]], ...]:
    """Return every cell with its secrets, under the spoken name of its layer.

    Args:
        cells: the grid.
        records: finished records.
        path: the run's folder, in which pictures are.
    """
    groups: dict[tuple[int | None, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.cell.layer, record.cell.component), []).append(record)
    layers: dict[str, list[Fold]] = {}
    for cell in cells:
        fold = _fold(cell, groups.get((cell.plan.layer, cell.plan.component), []), path)
        layers.setdefault(fold.layer, []).append(fold)
    return tuple((layer, tuple(found)) for layer, found in layers.items())


def _fold(cell: CellView, records: list[Record], path: Path) -> Fold:
    row = cell.best
    chosen = [row.attack for row in (cell.strongest, cell.baseline) if row is not None]
    items: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.item.get("index", 0)):
        if name(record) in chosen and record.outcome is not Outcome.SKIPPED:
            items.setdefault(record.item.get("index", 0), []).append(record)
    hits = [
        any(record.scores.get(cell.kind.exact) == 1 for record in group if row and name(record) == row.attack)
        for group in items.values()
    ]
    note = f"Absent: {cell.absent}" if cell.absent else cell.reason if row is None else ""
    return Fold(
        anchor=cell.anchor,
        layer=words.layer(cell.plan.layer),
        component=words.component(cell.plan.component),
        state=cell.state,
        tally=f"{sum(hits)} of {len(hits)} {cell.kind.whole}" if hits else str(cell.state),
        facts=_facts(row),
        note=note,
        items=tuple(_item(group, cell, path) for group in items.values()),
    )


def _facts(row: Row | None) -> str:
    if row is None:
        return ""
    measures = [f"{row.kind.measures[key]} {form.decibels(value)}" for key, value in row.measures.items()]
    leak = f"{row.kind.leak_name} {form.score(row.mean(row.kind.leak))}"
    return ", ".join([leak, *measures, form.seconds(row.seconds)])


def _item(group: list[Record], cell: CellView, path: Path) -> Item:
    baseline = None if cell.baseline is None else cell.baseline.attack
    ordered = sorted(group, key=lambda record: name(record) == baseline)
    first = ordered[0]
    size = first.item.get("size", len(first.texts.secret))
    noun = cell.kind.noun
    label = (
        f"{noun.capitalize()} {first.item.get('index', 0) + 1}"
        if size == 1
        else f"Batch {first.item.get('index', 0) + 1}"
    )
    if first.item.get("tokens"):
        label += (
            f", {first.item['tokens']} tokens" if size == 1 else f" of {size} {noun}s, {first.item['tokens']} tokens"
        )
    found = (*first.texts.recovered, *[""] * len(first.texts.secret))
    return Item(
        label=label,
        secret=tuple(
            marked.secret(text, other, redacted=first.texts.redacted)
            for text, other in zip(first.texts.secret, found, strict=False)
        ),
        pictures=tuple(shown(path, picture.secret, "Secret") for picture in first.pictures),
        redacted=_masked(first, cell),
        guesses=tuple(_guess(record, cell, path, baseline=name(record) == baseline) for record in ordered),
    )


def _masked(record: Record, cell: CellView) -> bool:
    if cell.kind is TEXT:
        return record.texts.redacted
    return not any(picture.secret or picture.recovered for picture in record.pictures)


def _guess(record: Record, cell: CellView, path: Path, *, baseline: bool) -> Guess:
    texts = record.texts
    flags = (*texts.matches, *[()] * len(texts.recovered))
    proof = [str(record.outcome)]
    if record.certificate is not None:
        proof.append(f"residual {form.certificate(record.certificate)}")
    kind, who = cell.kind, "Published method" if baseline else "Recovered"
    proof += [form.seconds(record.seconds), f"{kind.leak_name} {form.score(record.scores.get(kind.leak))}"]
    proof += [f"{kind.measures[key]} {form.decibels(record.measures.get(key))}" for key in kind.measures]
    return Guess(
        who=who,
        baseline=baseline,
        sentences=tuple(marked.recovered(text, flag) for text, flag in zip(texts.recovered, flags, strict=False)),
        tally=tuple(_tally(text, flag) for text, flag in zip(texts.recovered, flags, strict=False)),
        pictures=tuple(shown(path, picture.recovered, who) for picture in record.pictures),
        exact=record.scores.get(kind.exact) == 1,
        proof=", ".join(proof),
        advice=f"{ADVICE[record.outcome]}" + (f" ({record.reason})" if record.reason else ""),
    )


def _tally(text: str, matches: Sequence[bool]) -> str:
    return f"{sum(map(bool, matches))} of {form.plural(len(text.split()), 'word')} occur in the secret"
