"""The audit in Python: the same job as the command line's, on a model in memory or on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from unmask.attack import Attack
from unmask.auditor import defended, prepare, shared_plan
from unmask.auditor.defaults import fitting, strongest_all
from unmask.auditor.loop import Finished, Step, run
from unmask.auditor.plan import BASELINE, STRONGEST, Plan, Role, SeenCell, spread
from unmask.auditor.texts import TextSubject
from unmask.defence import Defence
from unmask.errors import BadInput
from unmask.registry import Group, make
from unmask.report import form, page, words
from unmask.report.kinds import TEXT
from unmask.report.rows import Row, rows
from unmask.surface import Surface
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.answer import AnswerSurface
from unmask.surfaces.gradient import GradientSurface
from unmask.surfaces.published_weights import PublishedWeights
from unmask.surfaces.store import StoreSurface
from unmask.victim import Secret
from unmask.victims import demo, hf
from unmask.victims.corpora import Example, from_lines, from_parquet, private
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import Encode, secrets
from unmask.victims.torch_model import TorchModel

Described = GradientSurface | ActivationSurface | PublishedWeights | StoreSurface | AnswerSurface
"""Surfaces that a model of texts, or weights, can be audited on."""


@runtime_checkable
class Audited(Protocol):
    """What can be audited: a public model beside its tokenizer."""

    @property
    def model(self) -> TorchModel:
        """The public model."""

    @property
    def encode(self) -> Encode:
        """Text to ids, special ones included."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """An audit's records and what to do with them.

    Args:
        finished: what the loop left behind.
    """

    finished: Finished

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.finished.path

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row per cell and attack, means over texts."""
        return rows(self.finished.records)

    @property
    def leak(self) -> float:
        """Highest mean leak over cells and attacks, in [0, 1]: ROUGE-1 of texts, SSIM of images."""
        return max((row.leak for row in self.rows), default=0.0)

    def table(self) -> str:
        """Return the rows as lines of text: the leak, its null control, the share that came back whole, seconds."""
        kind = next((row.kind for row in self.rows), TEXT)
        head = ("cell", "attack", kind.leak_name, "null", kind.whole, "seconds")
        body = [
            (
                words.place(row.layer, row.component),
                row.attack,
                form.score(row.mean(kind.leak)),
                form.score(row.null.get(kind.leak)),
                form.score(row.exact),
                form.seconds(row.seconds),
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in [head, *body]
        )

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one self-contained page, and return where it is.

        Args:
            path: the file; by default `report.html` in the run's folder.

        Raises:
            StorageError: if it cannot be written.
        """
        return page.write(self.path, None if path is None else Path(path))


def subject(
    model: Audited | tuple[nn.Module, object] | str | Path | None = None,
    *,
    task: str = "auto",
    classes: int = 2,
    seed: int = 0,
    online: bool = False,
) -> Audited:
    """Return a model with its tokenizer, ready to be audited.

    Args:
        model: a pair of a transformers model and its tokenizer, the folder of one, what
            `unmask.wrap_module` returned, or None for the embedded MiniLM encoder.
        task: `classification`, `causal-lm` or `auto`, for a folder.
        classes: number of classes of a head that the folder lacks.
        seed: seed of such a head.
        online: take `model` for a name on the hub if it is no folder.

    Raises:
        BadInput: if it cannot be used.
        MissingExtra: if the embedded model is asked for and not installed.
    """
    if model is None:
        loaded = hf.load(str(demo.directory()), task=task, classes=classes, seed=seed)
        return hf.Loaded(replace(loaded.model, name=demo.NAME), loaded.tokenizer)
    if isinstance(model, str | Path):
        return hf.load(str(model), task=task, classes=classes, seed=seed, offline=not online)
    if isinstance(model, tuple):
        return hf.from_memory(*model)
    return model


def examples(
    texts: Sequence[str | Example] | str | Path | None, labels: Sequence[int] | None = None, *, seed: int = 0
) -> tuple[Example, ...]:
    """Return private sentences: the given ones, those of a file, or the project's own.

    Args:
        texts: sentences, or the path of a `.txt`, `.jsonl`, `.csv` or `.parquet` file, or None.
        labels: class indices of given sentences, by default all 0.
        seed: seed of a parquet file's order.

    Raises:
        BadInput: if the file cannot be used or there are not as many labels as sentences.
        MissingExtra: if a parquet file is given and pyarrow is not installed.
    """
    if texts is None:
        return private()
    if isinstance(texts, str | Path):
        parquet = Path(texts).is_dir() or Path(texts).suffix == ".parquet"
        return from_parquet(texts, seed=seed, argument="texts") if parquet else from_lines(texts, argument="texts")
    if labels is not None and len(labels) != len(texts):
        raise BadInput("labels", list(labels), f"are not as many as the {len(texts)} texts", "give one per text")
    given = [0] * len(texts) if labels is None else labels
    return tuple(
        text if isinstance(text, Example) else Example(text=text, label=label, kind="given")
        for text, label in zip(texts, given, strict=True)
    )


def roles(
    attacks: Sequence[str | Attack[Any]],
    baseline: str | Attack[Any] | None,
    cells: int,
    baseline_cells: int,
    surface: Surface[Any, Any] = GradientSurface(),  # noqa: B008 - frozen
) -> tuple[Role, ...]:
    """Return the attacks with their parts: the strongest everywhere, the baseline in cells spread evenly.

    Args:
        attacks: registered names or instances.
        baseline: the published method to compare with, or None.
        cells: number of cells.
        baseline_cells: in how many of them the baseline runs.
        surface: what they are to read.

    Raises:
        BadInput: if a name is unknown, or an attack reads another kind of surface.
    """
    found = [make(Group.ATTACK, each) if isinstance(each, str) else each for each in attacks]
    for attack in found:
        fitting(attack, surface, argument="--attack")
    everywhere = tuple(range(cells))
    chosen = [Role(attack=attack, role=STRONGEST, cells=everywhere) for attack in found]
    if baseline is None or not baseline_cells:
        return tuple(chosen)
    other = make(Group.ATTACK, baseline, argument="--baseline") if isinstance(baseline, str) else baseline
    fitting(other, surface, argument="--baseline")
    if other.name not in [attack.name for attack in found]:
        chosen.append(Role(attack=other, role=BASELINE, cells=spread(baseline_cells, cells)))
    return tuple(chosen)


def plan_of(
    who: Audited, items: Sequence[Secret | None], cells: Sequence[SeenCell], chosen: Sequence[Role], *, batch: int
) -> Plan:
    """Return a plan with the controls that every audit has and all limits at their defaults.

    Args:
        who: the model.
        items: the secrets.
        cells: what is seen.
        chosen: the attacks.
        batch: number of sequences in a batch.
    """
    return Plan(
        subject=TextSubject(
            model=who.model,
            mechanism=TorchMechanism(model=who.model),
            guess=prepare.common(who.model, who.encode),
        ),
        cells=tuple(cells),
        items=tuple(items),
        roles=tuple(chosen),
        controls=prepare.controls(who.model, who.encode, batch) if len(items) < 2 else (),
    )


def cells_of(
    who: Audited,
    surface: GradientSurface | ActivationSurface | StoreSurface | AnswerSurface,
    selections: Sequence[str],
) -> tuple[SeenCell, ...]:
    """Return one cell for each selection of what a surface shows.

    Args:
        who: the model.
        surface: what is seen, apart from the selection.
        selections: see `unmask.surfaces.selector` and `unmask.surfaces.site_selector`.

    Raises:
        BadInput: if a selection matches nothing.
    """
    if isinstance(surface, ActivationSurface):
        return prepare.activation_cells(who.model, surface, selections)
    if isinstance(surface, StoreSurface | AnswerSurface):
        return shared_plan.shared_cells(who.model, who.encode, surface, selections)
    return prepare.cells(who.model, surface, selections)


def default_folder(model: str) -> Path:
    """Return the folder of a run that was not given one: `runs/<time>-<model>`.

    Args:
        model: the model's name.
    """
    safe = "".join(c if c.isalnum() or c in "-._" else "-" for c in Path(model).name)
    return Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{safe}"


def audit(
    model: Audited | tuple[nn.Module, object] | str | Path | None = None,
    texts: Sequence[str | Example] | str | Path | None = None,
    *,
    labels: Sequence[int] | None = None,
    select: str | Sequence[str] = prepare.GRID,
    surface: Described = GradientSurface(),  # noqa: B008 - frozen
    attacks: Sequence[str | Attack[Any]] | None = None,
    baseline: str | Attack[Any] | None = None,
    baseline_cells: int = 2,
    batch: int = 1,
    limit: int | None = None,
    defences: Sequence[Defence] = (),
    seed: int = 0,
    run_seconds: float = 60.0,
    budget: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    show_private: bool = False,
    fail_on: float | None = None,
    progress: Callable[[Step], None] = lambda step: None,
) -> Result:
    """Attack what a model's surface shows of private texts, cell by cell, and score what comes out.

    Args:
        model: see `subject`.
        texts: see `examples`.
        labels: class indices of given texts.
        select: what the adversary sees, one cell for each selection; `grid` for every part alone: linear
            maps of a gradient, attention heads and other signals of the attention surface.
        surface: the rest of the threat model.
        attacks: registered names or instances; by default the strongest on this surface.
        baseline: the published method to compare with, or None.
        baseline_cells: in how many cells it runs.
        batch: number of texts per gradient; 1 on the attention surface.
        limit: number of texts to use, from the first; None for all.
        defences: what protects the surface, applied in this order; the adversary knows them.
        seed: seed of everything that is drawn.
        run_seconds: time limit of one attack on one observation.
        budget: time limit of the whole audit in seconds.
        out: the run's folder, by default `runs/<time>-<model>`.
        resume: go on with the run in `out`.
        show_private: record texts unmasked.
        fail_on: highest leak that passes, for the report.
        progress: called before and after every run.

    Raises:
        BadInput: if an argument cannot be used.
        StorageError: if a record cannot be written; those before it are kept.

    Example:
        >>> audit(texts=["john lives at 42 oak street"], select="0.query").leak  # doctest: +SKIP
        1.0
    """
    if isinstance(surface, PublishedWeights):
        raise BadInput("surface", surface.name, "shows images, no texts", "call unmask.audit_weights")
    if not isinstance(surface, GradientSurface) and batch != 1:
        raise BadInput("batch", batch, "texts in one forward pass are not told apart", "give 1")
    who = subject(model, seed=seed)
    private_texts = examples(texts, labels, seed=seed)[:limit]
    items = secrets(private_texts, who.model, who.encode, batch=batch)
    selections = [select] if isinstance(select, str) else select
    cells = cells_of(who, surface, selections)
    chosen = roles(
        attacks or strongest_all(surface, defended=bool(defences)), baseline, len(cells), baseline_cells, surface
    )
    plan = replace(
        plan_of(who, items, defended.protected(cells, defences), chosen, batch=batch),
        guarantees=defended.stated(cells, defences),
        trained=defended.training_of(model),
        seed=seed,
        run_seconds=float(run_seconds),
        budget=None if budget is None else float(budget),
        show_private=show_private,
        fail_on=fail_on,
    )
    folder = default_folder(plan.subject.name) if out is None else Path(out)
    return Result(finished=run(plan, folder, resume=resume, progress=progress))
