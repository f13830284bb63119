"""What the user asked for of a network's weights, as a plan."""

from dataclasses import dataclass
from pathlib import Path

from unmask import settings
from unmask.auditor import network
from unmask.auditor.plan import Plan
from unmask.cli import defences
from unmask.cli.request import Request
from unmask.defences.training_task import TrainingDefence
from unmask.defences.trainings import TRAININGS
from unmask.errors import BadInput
from unmask.parameters import weights_plan_of
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims import images


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of --weights-before and --weights-after, both or none."""

    before: Path | None
    after: Path | None


def plan(request: Request, files: Files) -> Plan:
    """Read or train a network and say what is going to run.

    Args:
        request: what the user asked for.
        files: weights of the user's.

    Raises:
        BadInput: if anything of it cannot be used.
    """
    surface = request.surface
    assert isinstance(surface, PublishedWeights)
    _refuse(request)
    if (files.before is None) != (files.after is None):
        given = "--weights-before" if files.after is None else "--weights-after"
        raise BadInput(given, "given", "comes alone", "give --weights-before and --weights-after")
    found = None if request.images is None else images.load(request.images, None, request.seed)
    defence = _defence(request, files)
    if files.before is not None and files.after is not None:
        who = network.from_files(files.before, files.after, found, request.limit)
    else:
        pictures = images.sample() if found is None else found
        who = network.trained(pictures, request.limit, request.seed, defence)
    return weights_plan_of(
        who,
        surface,
        request.attacks,
        seed=request.seed,
        run_seconds=request.run_seconds,
        budget=request.budget,
        show_private=request.show_private or (request.images is None and files.before is None),
        fail_on=request.fail_on,
        command=request.command,
    )


def _defence(request: Request, files: Files) -> TrainingDefence | None:
    if not request.defences:
        return None
    if files.before is not None or len(request.defences) > 1:
        rule = "is applied while a network is trained, once"
        raise BadInput("--defence", ", ".join(request.defences), rule, "name one, and leave the weights' files out")
    name, data = defences.split(request.defences[0])
    if name not in TRAININGS:
        raise BadInput("--defence", name, "is no defence of published weights", f"choose {', '.join(TRAININGS)}")
    defence: TrainingDefence = settings.from_json(TRAININGS[name], data)
    return defence


def _refuse(request: Request) -> None:
    given = {
        "--model": request.model,
        "--texts": request.texts,
        "--data": request.data,
        "--gradients": request.gradients,
        "--select": request.select or None,
    }
    for argument, value in given.items():
        if value is not None:
            raise BadInput(argument, str(value), "has no meaning on the parameters surface", "leave it out")
    if request.batch != 1:
        raise BadInput("--batch", request.batch, "has no meaning on the parameters surface", "use --limit")
