"""Many records to one row per cell and attack."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from unmask.record import Outcome, Record
from unmask.report import kinds
from unmask.report.interval import Mean, wilson
from unmask.report.kinds import Kind


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one attack got out of one cell, over all secrets.

    Args:
        layer: layer index, or None outside the layers.
        component: the component's name.
        parameters: how many numbers were seen.
        share: `parameters` divided by the number of parameters of the model.
        attack: the attack's name.
        role: `strongest` or `baseline`.
        n: number of scored records: secrets, or batches if `batch` is above 1.
        batch: number of secrets in the largest item.
        skipped: number of records in which the attack did not apply; they are in no mean.
        scores: metric name to mean in [0, 1] with its interval; empty if n is 0.
        null: metric name to the mean of the null control.
        trivial: metric name to the mean of the trivial guess.
        certified: share of the scored records with a certificate, or None if n is 0.
        certificate: largest finite replay residual, or None.
        seconds: mean wall-clock time of one attack in seconds, or None if n is 0.
        absent: the reason, if every record says that the information is absent.
        reason: the clause of the first record that was not certified, or empty.
        measures: measure to its mean; those that the secret's kind has no word for are left out.
        noun: what one secret is: text or image.
    """

    layer: int | None
    component: str
    parameters: int
    share: float
    attack: str
    role: str
    n: int
    batch: int
    skipped: int
    scores: Mapping[str, Mean]
    null: Mapping[str, float]
    trivial: Mapping[str, float]
    certified: float | None
    certificate: float | None
    seconds: float | None
    absent: str | None
    reason: str
    measures: Mapping[str, float] = field(default_factory=dict)
    noun: str = field(default=kinds.TEXT.noun)

    @property
    def trials(self) -> str:
        """How much was attacked, in words."""
        if self.batch == 1:
            return f"{self.n} {self.noun}{'' if self.n == 1 else 's'}"
        return f"{self.n} batch{'' if self.n == 1 else 'es'} of up to {self.batch} {self.noun}s"

    @property
    def kind(self) -> Kind:
        """What was private."""
        return kinds.KINDS[self.noun]

    @property
    def leak(self) -> float:
        """Mean of the score that the limit of `--fail-on` is about, 0 if nothing was scored."""
        return self.mean(self.kind.leak) or 0.0

    @property
    def exact(self) -> float | None:
        """Share of the secrets that came back whole, or None if nothing was scored."""
        return self.mean(self.kind.exact)

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric or a measure, or None if it was not measured."""
        found = self.scores.get(metric)
        return self.measures.get(metric) if found is None else found.value


def rows(records: Iterable[Record]) -> tuple[Row, ...]:
    """Return one row per cell and attack, in the order in which they first occur.

    Args:
        records: finished records; those with the outcome `SKIPPED` count as skipped only.

    Example:
        >>> [row.mean("rouge1") for row in rows(())]
        []
    """
    groups: dict[tuple[int | None, str, str, str], list[Record]] = {}
    for record in records:
        key = (record.cell.layer, record.cell.component, name(record), role(record))
        groups.setdefault(key, []).append(record)
    return tuple(_row(group) for group in groups.values())


def name(record: Record) -> str:
    """Return the attack's name."""
    return str(record.attack.get("name", "attack"))


def role(record: Record) -> str:
    """Return the attack's role, `strongest` unless the record says otherwise."""
    return str(record.attack.get("role", "strongest"))


def _row(group: list[Record]) -> Row:
    first = group[0]
    kind = next((kinds.of(record) for record in group if record.scores), kinds.of(first))
    scored = [record for record in group if record.outcome is not Outcome.SKIPPED and record.scores]
    residuals = [record.certificate for record in scored if record.certificate is not None]
    unproved = [record.reason for record in group if record.outcome is not Outcome.CERTIFIED]
    absent = all(record.outcome is Outcome.ABSENT for record in group)
    return Row(
        layer=first.cell.layer,
        component=first.cell.component,
        parameters=first.cell.parameters,
        share=first.cell.share,
        attack=name(first),
        role=role(first),
        n=len(scored),
        batch=max(int(record.item.get("size", 1)) for record in group),
        skipped=sum(record.outcome is Outcome.SKIPPED for record in group),
        scores={
            key: wilson(values) for key, values in _columns([record.scores for record in scored], kind.metrics).items()
        },
        null={key: fmean(values) for key, values in _columns([record.null for record in scored], kind.metrics).items()},
        trivial={
            key: fmean(values) for key, values in _columns([record.trivial for record in scored], kind.metrics).items()
        },
        certified=fmean(record.outcome is Outcome.CERTIFIED for record in scored) if scored else None,
        certificate=max((float(value) for value in residuals if math.isfinite(value)), default=None),
        seconds=fmean(record.seconds for record in scored) if scored else None,
        absent=first.reason if absent else None,
        reason=unproved[0] if unproved else "",
        measures={key: fmean(values) for key, values in _columns([r.measures for r in scored], kind.measures).items()},
        noun=kind.noun,
    )


def _columns(scores: list[Mapping[str, float]], keys: Iterable[str]) -> dict[str, list[float]]:
    columns = {key: [row[key] for row in scores if row.get(key) is not None] for key in keys}
    finite = {key: [float(value) for value in values if math.isfinite(value)] for key, values in columns.items()}
    return {key: values for key, values in finite.items() if values}
