"""What the user asked for, as a plan."""

from dataclasses import dataclass, replace
from pathlib import Path

from unmask import api
from unmask.auditor import defaults, defended, prepare
from unmask.auditor.plan import Plan, SeenCell
from unmask.cli import defences
from unmask.cli.options import Described, at_least_one
from unmask.errors import BadInput
from unmask.observation import Knowledge
from unmask.registry import Group, make
from unmask.surfaces import gradient_file
from unmask.surfaces.gradient import GradientSurface
from unmask.surfaces.gradient_file import GradientFile
from unmask.surfaces.published_weights import PublishedWeights
from unmask.surfaces.selector import ALL
from unmask.victim import Secret
from unmask.victims.corpora import Example, from_lines, from_parquet, private
from unmask.victims.secrets import secrets

BATCHES = 2
"""Observations per cell where --limit does not say how many texts to use."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `unmask audit`, checked one by one but not together; see its help."""

    model: str | None
    task: str
    online: bool
    texts: Path | None
    data: Path | None
    images: Path | None
    public_images: Path | None
    limit: int | None
    surface: Described
    defences: tuple[str, ...]
    select: tuple[str, ...]
    gradients: Path | None
    attacks: tuple[str, ...]
    baseline: str | None
    baseline_cells: int
    batch: int
    budget: float | None
    run_seconds: float
    seed: int
    fail_on: float | None
    show_private: bool
    command: tuple[str, ...]


def plan(request: Request) -> Plan:
    """Load the model and the texts and say what is going to run.

    Args:
        request: what the user asked for.

    Raises:
        BadInput: if anything of it cannot be used.
        MissingExtra: if it needs a package that is not installed.
    """
    if request.fail_on is not None and not 0 <= request.fail_on <= 1:
        raise BadInput("--fail-on", request.fail_on, "is no score in [0, 1]", "give one, such as 0.5")
    at_least_one("--batch", request.batch)
    if not isinstance(request.surface, GradientSurface):
        if request.batch > 1:
            raise BadInput("--batch", request.batch, "texts in one forward pass are not told apart", "give 1")
        if request.gradients is not None:
            rule = f"are not seen on the {request.surface.name} surface"
            raise BadInput("--gradients", str(request.gradients), rule, "use --surface gradient")
    if isinstance(request.surface, PublishedWeights):
        raise BadInput("--surface", request.surface.name, "shows no text", "see unmask.cli.weights_request")
    # What needs no model is checked before the model is loaded.
    wanted = request.attacks or defaults.strongest_all(request.surface, defended=bool(request.defences))
    attacks = [make(Group.ATTACK, name) for name in wanted]
    guards = [defences.parse(text) for text in request.defences]
    who = api.subject(request.model, task=request.task, seed=request.seed, online=request.online)
    if request.gradients is None:
        sentences = sentences_of(request.texts, request.data, request.seed) or private()
        count = BATCHES * request.batch if request.limit is None else at_least_one("--limit", request.limit)
        items: tuple[Secret | None, ...] = secrets(
            sentences[:count], who.model, who.encode, batch=request.batch, argument=_source(request)
        )
        cells = api.cells_of(who, request.surface, request.select or (prepare.GRID,))
    else:
        items, cells = _saved(request, request.gradients, who)
    guarantees = defended.stated(cells, guards)
    cells = defended.protected(cells, guards)
    baseline_cells = max(0, request.baseline_cells)
    roles = api.roles(attacks, request.baseline, len(cells), baseline_cells, request.surface)
    own = request.texts is None and request.data is None and request.gradients is None
    return replace(
        api.plan_of(who, items, cells, roles, batch=request.batch),
        seed=request.seed,
        run_seconds=request.run_seconds,
        budget=request.budget,
        show_private=request.show_private or own,
        fail_on=request.fail_on,
        guarantees=guarantees,
        trained=defended.training_of(request.model),
        command=request.command,
    )


def sentences_of(texts: Path | None, data: Path | None, seed: int) -> tuple[Example, ...]:
    """Return the sentences of the file that was named, none if there is no file.

    Args:
        texts: the file of --texts.
        data: the file or folder of --data.
        seed: seed of the order of --data.

    Raises:
        BadInput: if both are given, or a file cannot be used.
        MissingExtra: if --data is given and pyarrow is not installed.
    """
    if texts is not None and data is not None:
        raise BadInput("--data", str(data), "comes on top of --texts", "give one of them")
    if texts is not None:
        return from_lines(texts, argument="--texts")
    return () if data is None else from_parquet(data, seed=seed, argument="--data")


def _source(request: Request) -> str:
    return "--data" if request.data is not None else "--texts"


def _saved(request: Request, path: Path, who: api.Audited) -> tuple[tuple[Secret | None, ...], tuple[SeenCell, ...]]:
    sentences = sentences_of(request.texts, request.data, request.seed)[: request.limit]
    secret: Secret | None = None
    if sentences:
        (secret,) = secrets(sentences, who.model, who.encode, batch=len(sentences), argument=_source(request))
    knowledge = _stated(request, secret)
    found = gradient_file.read(path, who.model, knowledge)
    if secret is not None and found.knowledge.batch not in (None, secret.size):
        rule = f"holds {secret.size} texts where the gradient is over {found.knowledge.batch}"
        raise BadInput(_source(request), str(request.texts or request.data), rule, "give those it was made of")
    surface = GradientFile(path=str(path), knowledge=knowledge)
    return (secret,), prepare.cells(who.model, surface, request.select or (ALL,), places=found.places)


def _stated(request: Request, secret: Secret | None) -> Knowledge:
    asked = request.surface
    assert isinstance(asked, GradientSurface)  # checked with --gradients
    for argument, wanted in (("--labels", asked.knows_labels), ("--lengths", asked.knows_lengths)):
        if wanted and secret is None:
            raise BadInput(argument, "known", "is not said by a file alone", "add --texts with what it was made of")
    labels = None if secret is None or secret.labels is None else tuple(secret.labels.tolist())
    return Knowledge(
        batch=request.batch if secret is None else secret.size,
        labels=labels if asked.knows_labels else None,
        lengths=secret.lengths if secret is not None and asked.knows_lengths else None,
        dropout=asked.dropout,
        local_steps=asked.local_steps,
        learning_rate=asked.learning_rate,
        dtype=asked.release.dtype,
        noise=asked.release.noise,
        clip=asked.release.clip,
        prune=asked.release.prune,
    )
