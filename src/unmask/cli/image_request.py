"""What the user asked for of a model of images, as a plan."""

from dataclasses import replace

from unmask import api
from unmask.attacks.images.rehearsal import MOST
from unmask.auditor import defaults, defended, image_plan
from unmask.auditor.plan import Plan
from unmask.auditor.prepare import GRID
from unmask.cli import defences
from unmask.cli.options import at_least_one
from unmask.cli.request import BATCHES, Request
from unmask.errors import BadInput
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.victims import images, vision_models
from unmask.victims.torch_vision import DEMO


def pictured(request: Request) -> bool:
    """Whether a model of images is meant: images are given, or the model is one.

    Args:
        request: what the user asked for.
    """
    return request.images is not None or (request.model is not None and vision_models.named(request.model))


def plan(request: Request) -> Plan:
    """Load the model and the images and say what is going to run.

    Args:
        request: what the user asked for.

    Raises:
        BadInput: if anything of it cannot be used.
        MissingExtra: if it needs a package that is not installed.
    """
    seen = request.surface
    if not isinstance(seen, ActivationSurface):
        raise BadInput("--surface", seen.name, "is not built for images", "add --surface attention")
    for argument, value in (("--texts", request.texts), ("--data", request.data), ("--gradients", request.gradients)):
        if value is not None:
            raise BadInput(argument, str(value), "goes with a model of texts", "give --images, or another --model")
    if request.batch > 1:
        raise BadInput("--batch", request.batch, "images in one forward pass are not told apart", "give 1")
    model = vision_models.find(request.model or DEMO, offline=not request.online)
    if request.public_images is not None:
        public = images.load(request.public_images, MOST, request.seed, argument="--public-images")
        model = replace(model, examples=images.fit(public, model.shape, argument="--public-images"))
    limit = BATCHES if request.limit is None else at_least_one("--limit", request.limit)
    found = images.sample() if request.images is None else images.load(request.images, None, request.seed)
    surface = ImageActivationSurface(
        missing=seen.missing, knows_positions=seen.knows_positions, permuted=seen.permuted, release=seen.release
    )
    cells = image_plan.image_cells(model, surface, request.select or (GRID,))
    baseline = None if request.baseline is None else defaults.BASELINE[surface.name]
    attacks = request.attacks or (defaults.strongest(surface),)
    roles = api.roles(attacks, baseline, len(cells), max(0, request.baseline_cells), surface)
    guards = [defences.parse(text) for text in request.defences]
    if guards and guards[0].name not in ("perturb", "encryption"):
        rule = "protects no activations of images"
        raise BadInput("--defence", request.defences[0], rule, "use encryption or perturb, or a model of texts")
    planned = image_plan.image_plan(
        model,
        found,
        roles,
        defended.protected(cells, guards),
        limit=limit,
        seed=request.seed,
        run_seconds=request.run_seconds,
        budget=request.budget,
        show_private=request.show_private or request.images is None,
        fail_on=request.fail_on,
        command=request.command,
    )
    return replace(planned, guarantees=defended.stated(cells, guards))
