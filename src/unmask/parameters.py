"""The audit of published weights in Python: the same job as `unmask audit --surface parameters`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unmask.api import Result, default_folder, roles
from unmask.attack import Attack
from unmask.auditor import network
from unmask.auditor.defaults import strongest
from unmask.auditor.loop import Step, run
from unmask.auditor.network import Network
from unmask.auditor.plan import Plan
from unmask.auditor.weights import weights_cells, weights_plan
from unmask.defences.training_task import TrainingDefence
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims import images as pictures
from unmask.vision import Images


def weights_plan_of(
    who: Network,
    surface: PublishedWeights,
    attacks: Sequence[str | Attack[Any]] | None = None,
    *,
    seed: int = 0,
    run_seconds: float = 60.0,
    budget: float | None = None,
    show_private: bool = False,
    fail_on: float | None = None,
    command: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of an audit of a network's published weights, beside its control.

    Args:
        who: see `unmask.auditor.network`.
        surface: what is seen.
        attacks: registered names or instances; by default the strongest.
        seed: seed of everything that is drawn.
        run_seconds: time limit of one attack.
        budget: time limit of the whole audit in seconds.
        show_private: whether pictures are stored and shown.
        fail_on: highest leak that passes.
        command: the command line.

    Raises:
        BadInput: if the weights or an attack cannot be used.
    """
    # Observed once so that weights that cannot be used are refused before anything runs.
    surface.observe(who.subject.victim(who.secret), generator(seed, "check"))
    cells = weights_cells(who.subject, surface)
    plan = weights_plan(
        who.subject,
        cells,
        roles(attacks or (strongest(surface),), None, len(cells), 0, surface),
        secret=who.secret,
        outside=who.outside,
        seed=seed,
        run_seconds=float(run_seconds),
        budget=None if budget is None else float(budget),
        show_private=show_private,
        fail_on=fail_on,
        command=command,
    )
    return replace(plan, guarantees=who.guarantees)


def audit_weights(
    before: str | Path | None = None,
    after: str | Path | None = None,
    images: Images | str | Path | None = None,
    *,
    limit: int | None = None,
    defence: TrainingDefence | None = None,
    surface: PublishedWeights = PublishedWeights(),  # noqa: B008 - frozen
    attacks: Sequence[str | Attack[Any]] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    run_seconds: float = 60.0,
    budget: float | None = None,
    show_private: bool = False,
    fail_on: float | None = None,
    progress: Callable[[Step], None] = lambda step: None,
) -> Result:
    """Attack a perceptron's weights for the images that it was trained on.

    Args:
        before: safetensors file of the weights before training, or None to train a network on the spot.
        after: the file after training.
        images: the training images and then others, or where `unmask.victims.images.load` finds them;
            by default the sample of Fashion-MNIST if a network is trained on the spot, else unknown.
        limit: number of images that are trained on.
        defence: how a network is trained on the spot, see `unmask.defences.trainings`.
        surface: what is seen.
        attacks: registered names or instances; by default the strongest.
        out: the run's folder, by default `runs/<time>-<model>`.
        resume: go on with the run in `out`.
        seed: seed of everything that is drawn.
        run_seconds: time limit of one attack.
        budget: time limit of the whole audit in seconds.
        show_private: whether pictures are stored and shown.
        fail_on: highest leak that passes, for the report.
        progress: called before and after every run.

    Raises:
        BadInput: if an argument cannot be used.
        StorageError: if a record cannot be written.

    Example:
        >>> audit_weights(limit=5).leak  # doctest: +SKIP
        1.0
    """
    if (before is None) != (after is None):
        raise BadInput("before", str(before or after), "comes without its other file", "give before and after")
    found = pictures.load(images, argument="images") if isinstance(images, str | Path) else images
    if before is not None and after is not None:
        if defence is not None:
            raise BadInput("defence", defence.name, "is applied while a network is trained", "leave the files out")
        who = network.from_files(Path(before), Path(after), found, limit)
    else:
        who = network.trained(found or pictures.sample(), limit, seed, defence)
    plan = weights_plan_of(
        who,
        surface,
        attacks,
        seed=seed,
        run_seconds=run_seconds,
        budget=budget,
        show_private=show_private,
        fail_on=fail_on,
    )
    folder = default_folder(plan.subject.name) if out is None else Path(out)
    return Result(finished=run(plan, folder, resume=resume, progress=progress))
