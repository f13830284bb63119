"""Runs with and without defences on one page: what each gives away, what it promises, what it is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from unmask import storage
from unmask.errors import BadInput
from unmask.report import form, headline
from unmask.report.cells import cells
from unmask.report.curve import Curve, curve
from unmask.report.folder import Run, load
from unmask.report.page import asset, environment
from unmask.report.promises import Promise, epsilon, promises
from unmask.report.rows import Row, rows

NAME = "comparison.html"
UTILITIES = ("accuracy", "matthews")
"""What a model can be worth, the first that every run has; both lie between 0 and 1 for a model worth anything."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run of the comparison.

    Args:
        label: how the page calls it.
        path: the run's folder.
        model: the model's name.
        epsilon: of the release or of the training, or None.
        promises: what is guaranteed.
        leak: highest mean leak over cells and attacks.
        score: the name of that score.
        exact: highest share of secrets that came back whole.
        null: mean leak of the null control, or None.
        trivial: mean leak of the trivial guess, or None.
        attacks: attack to its highest mean leak over cells.
        n: number of scored records.
        utility: what the model is worth, name to value; empty if unknown.
        sentence: the run's own first sentence.
    """

    label: str
    path: Path
    model: str
    epsilon: float | None
    promises: tuple[Promise, ...]
    leak: float
    score: str
    exact: float
    null: float | None
    trivial: float | None
    attacks: Mapping[str, float]
    n: int
    utility: Mapping[str, float]
    sentence: str


def write(runs: Sequence[Path], out: Path) -> Path:
    """Write one self-contained page that compares runs; it reads files and computes nothing else.

    Args:
        runs: folders of runs, in the order of the page; the first is what the others are compared with.
        out: the file to write.

    Returns:
        The file that was written.

    Raises:
        BadInput: if there are fewer than two runs, or a folder holds none.
        StorageError: if the file cannot be written.
    """
    return storage.replace(out, render(sides(runs)))


def sides(runs: Sequence[Path]) -> tuple[Side, ...]:
    """Return what is compared, run by run.

    Args:
        runs: folders of runs.

    Raises:
        BadInput: if there are fewer than two runs, or a folder holds none.
    """
    if len(runs) < 2:
        raise BadInput("runs", [str(run) for run in runs], "are no two runs", "name the folders of two or more")
    found = [_side(load(path)) for path in runs]
    labels = [side.label for side in found]
    # Two runs of one name are told apart by their folders.
    return tuple(
        replace(side, label=f"{side.label} ({side.path.name})") if labels.count(side.label) > 1 else side
        for side in found
    )


def summary(found: Sequence[Side]) -> Mapping[str, object]:
    """Return the page's facts as values that JSON can hold.

    Args:
        found: what is compared.
    """
    keys = ("label", "model", "epsilon", "leak", "score", "exact", "null", "trivial", "n", "sentence")
    return {
        "utility": worth(found),
        "runs": [
            {
                **{key: getattr(side, key) for key in keys},
                "path": str(side.path),
                "attacks": dict(side.attacks),
                "utility": dict(side.utility),
                "guarantees": [
                    {"name": p.name, "epsilon": p.epsilon, **p.facts, "note": p.note} for p in side.promises
                ],
            }
            for side in found
        ],
    }


def worth(found: Sequence[Side]) -> str | None:
    """Return the utility that is drawn: the first that two runs or more have, or None.

    Args:
        found: what is compared.
    """
    return next((name for name in UTILITIES if sum(name in side.utility for side in found) > 1), None)


def render(found: Sequence[Side]) -> str:
    """Return the page as HTML.

    Args:
        found: what is compared.
    """
    drawn = worth(found)
    points = [
        (side.label, side.utility[drawn], side.leak, side.epsilon) for side in found if drawn and drawn in side.utility
    ]
    plot: Curve | None = curve(points) if drawn else None
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            sides=found,
            first=found[0],
            attacks=list(dict.fromkeys(name for side in found for name in side.attacks)),
            drawn=drawn,
            plot=plot,
            sentence=_sentence(found),
            style=Markup(asset("page.css") + asset("figures.css")),
        )
    )


def _sentence(found: Sequence[Side]) -> str:
    first, least = found[0], min(found[1:], key=lambda side: side.leak)
    if least.leak < first.leak:
        low = f"{form.score(least.leak)} ({least.label})"
        return f"{first.score} falls from {form.score(first.leak)} ({first.label}) to {low}."
    return f"No run gives less away than the first ({first.label}, {first.score} {form.score(first.leak)})."


def _side(run: Run) -> Side:
    table = rows(run.records)
    scored = [row for row in table if row.scores]
    top = headline.worst(table)
    utility = run.trained.get("utility")
    attacks: dict[str, float] = {}
    for row in scored:
        attacks[row.attack] = max(attacks.get(row.attack, 0.0), row.leak)
    return Side(
        label=_label(run),
        path=run.path,
        model=run.model,
        epsilon=epsilon(run),
        promises=promises(run),
        leak=headline.leak(table),
        score="leak" if top is None else top.kind.leak_name,
        exact=max((row.exact or 0.0 for row in scored), default=0.0),
        null=_control(scored, "null"),
        trivial=_control(scored, "trivial"),
        attacks=attacks,
        n=sum(row.n for row in scored),
        utility={
            name: float(value)
            for name, value in (utility.items() if isinstance(utility, Mapping) else ())
            if isinstance(value, int | float)
        },
        sentence=headline.sentence(cells(run.grid, table)),
    )


def _control(scored: Sequence[Row], which: str) -> float | None:
    values = [getattr(row, which)[row.kind.leak] for row in scored if row.kind.leak in getattr(row, which)]
    return fmean(values) if values else None


def _label(run: Run) -> str:
    names = [str(each.get("name", "defence")) for each in run.guarantees]
    guarantee = run.trained.get("guarantee")
    if isinstance(guarantee, Mapping) and guarantee.get("epsilon") is not None:
        names.append("private training")
    least = epsilon(run)
    if not names:
        return "undefended"
    return " and ".join(names) + ("" if least is None else f", epsilon {least:.3g}")
