"""What one run of a study ended in, and the summary of a variant over its seeds; no torch in here."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from unmask.errors import BadInput

TWIN = "twin"
BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run.

    Args:
        factor: what was changed, such as `length`; `base` and `twin` are the two references.
        value: to what.
        seed: of the weights, the order of inputs and nothing else; every run sees the same data.
        metrics: accuracy on the held-out part after each stage, in the order of the stages.
        ranges: largest absolute input of a non-linearity, except an inverse square root, after each stage.
        accuracy: on the test part, or NaN if the run was stopped.
        levels: from the client's ciphertext to the logits, or None of the twin and of a run that was stopped.
        stopped: why there is no accuracy; empty if there is one.
        seconds: of the run, over all calls.
    """

    factor: str
    value: str
    seed: int
    metrics: Mapping[str, float]
    ranges: Mapping[str, float]
    accuracy: float
    levels: int | None
    stopped: str = field(default="")
    seconds: float

    @property
    def variant(self) -> str:
        """Return the name of what ran, seeds apart."""
        return self.factor if self.factor in (BASE, TWIN) else f"{self.factor}: {self.value}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The seeds of one variant.

    Args:
        variant: its name.
        runs: how many.
        finished: how many of them were not stopped.
        mean: test accuracy of the finished ones, or NaN.
        spread: their standard deviation (n - 1), or NaN of fewer than two.
        low: worst of them.
        substituted: mean of the held-out accuracy with polynomials in place less before, untrained, or NaN.
        before: median of the largest input of a non-linearity before range training, or NaN.
        after: the same of the polynomials that remain.
        levels: multiplicative depth, or None.
        stopped: distinct reasons.
    """

    variant: str
    runs: int
    finished: int
    mean: float
    spread: float
    low: float
    substituted: float
    before: float
    after: float
    levels: int | None
    stopped: tuple[str, ...]


def summaries(outcomes: Sequence[Outcome]) -> tuple[Summary, ...]:
    """Return one summary per variant, in the order in which they first appear.

    Args:
        outcomes: of all runs.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.variant, []).append(outcome)
    return tuple(_summary(name, runs) for name, runs in groups.items())


def _summary(name: str, runs: list[Outcome]) -> Summary:
    good = [run.accuracy for run in runs if not run.stopped]
    drops = [run.metrics["substitute"] - _before(run) for run in runs if "substitute" in run.metrics]
    return Summary(
        variant=name,
        runs=len(runs),
        finished=len(good),
        mean=statistics.fmean(good) if good else math.nan,
        spread=statistics.stdev(good) if len(good) > 1 else math.nan,
        low=min(good, default=math.nan),
        substituted=statistics.fmean(drops) if drops else math.nan,
        before=_median([run.ranges["replace"] for run in runs if "replace" in run.ranges]),
        after=_median([run.ranges["intervals"] for run in runs if "intervals" in run.ranges]),
        levels=next((run.levels for run in runs if run.levels is not None), None),
        stopped=tuple(dict.fromkeys(run.stopped for run in runs if run.stopped)),
    )


def _before(run: Outcome) -> float:
    return run.metrics["range"] if "range" in run.metrics else run.metrics["replace"]


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else math.nan


def table(found: Sequence[Summary]) -> str:
    """Return the summaries as aligned text, accuracies in per cent.

    Args:
        found: in the order of the rows.
    """
    head = ("variant", "done", "mean", "sd", "worst", "substituted", "range", "after", "levels")
    rows = [head, *(cells(each) for each in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = [
        "  ".join(cell.ljust(widths[at]) if at == 0 else cell.rjust(widths[at]) for at, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *(f"{each.variant}: {why}" for each in found for why in each.stopped)])


def cells(each: Summary) -> tuple[str, ...]:
    """Return a summary as the cells of one row of a table.

    Args:
        each: of one variant.
    """
    return (
        each.variant,
        f"{each.finished}/{each.runs}",
        number(100 * each.mean),
        number(100 * each.spread),
        number(100 * each.low),
        number(100 * each.substituted, sign=True),
        number(each.before),
        number(each.after),
        "-" if each.levels is None else str(each.levels),
    )


def number(value: float, *, sign: bool = False) -> str:
    """Return a number with at most one decimal, or a dash for NaN.

    Args:
        value: what to write.
        sign: whether a plus is written.
    """
    return "-" if math.isnan(value) else f"{value:+.1f}" if sign else f"{value:.1f}"


def encode(outcome: Outcome) -> str:
    """Return an outcome as one line of JSON; NaN becomes null.

    Args:
        outcome: what to write.
    """
    facts = asdict(outcome)
    return json.dumps(facts | {"accuracy": None if math.isnan(outcome.accuracy) else outcome.accuracy})


def decode(path: Path) -> Outcome:
    """Return the outcome that a file holds.

    Args:
        path: of one line that `encode` wrote.

    Raises:
        BadInput: if the file is damaged.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(**facts | {"accuracy": math.nan if facts["accuracy"] is None else facts["accuracy"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput("outcome", str(path), f"cannot be read ({error})", "delete it to run this one again") from error
