"""What the adversary knew, with what all runs share said once."""

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.record import Record
from unmask.report import words


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The knowledge in which some records differ from others.

    Args:
        sentences: what the adversary knew here beyond the shared sentences.
        records: number of records of this kind.
        where: the cells, spoken, or empty if every cell is concerned.
    """

    sentences: tuple[str, ...]
    records: int
    where: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """The threat model of a run.

    Args:
        shared: sentences that hold for every record.
        variants: what differs; empty if nothing does.
    """

    shared: tuple[str, ...]
    variants: tuple[Variant, ...]


def threat_model(records: Sequence[Record]) -> ThreatModel:
    """Return the knowledge of all records: the shared sentences, then the variants.

    Args:
        records: finished records.

    Example:
        >>> threat_model(()).shared
        ()
    """
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(record.knowledge, []).append(record)
    shared = tuple(s for s in next(iter(groups), ()) if all(s in knowledge for knowledge in groups))
    if len(groups) == 1:
        return ThreatModel(shared=shared, variants=())
    every = _places(records)
    variants = tuple(
        Variant(
            sentences=tuple(s for s in knowledge if s not in shared),
            records=len(group),
            where=() if _places(group) == every else _places(group),
        )
        for knowledge, group in groups.items()
    )
    return ThreatModel(shared=shared, variants=variants)


def _places(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words.place(record.cell.layer, record.cell.component) for record in records))
