"""What the user asked for of a network's weights, as a plan."""

from dataclasses import dataclass
from pathlib import Path

from unmask import api
from unmask.auditor import defaults
from unmask.auditor.plan import Plan
from unmask.auditor.weights import WeightsSubject, weights_cells, weights_plan
from unmask.cli.options import at_least_one
from unmask.cli.request import Request
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims import images, weight_files
from unmask.victims.mlp import Descent, initial, targets, train
from unmask.vision import Images
from unmask.weights import PublicMLP

WIDTH = 1024
COUNT = 20
"""Images of the network that is trained on the spot, where --limit says nothing."""
TRAINING = Descent(learning_rate=3e-3, steps=1000, loss=1e-4)


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
    if files.before is not None and files.after is not None:
        subject, secret, outside = _read(files.before, files.after, found, request.limit)
    else:
        subject, secret, outside = _trained(images.sample() if found is None else found, request.limit, request.seed)
    # Observed once so that weights that cannot be used are refused before anything runs.
    surface.observe(subject.victim(secret), generator(request.seed, "check"))
    cells = weights_cells(subject, surface)
    attacks = request.attacks or (defaults.strongest(surface),)
    roles = api.roles(attacks, None, len(cells), 0, surface)
    return weights_plan(
        subject,
        cells,
        roles,
        secret=secret,
        outside=outside,
        seed=request.seed,
        run_seconds=request.run_seconds,
        budget=request.budget,
        show_private=request.show_private or (request.images is None and files.before is None),
        fail_on=request.fail_on,
        command=request.command,
    )


def _refuse(request: Request) -> None:
    given = {
        "--model": request.model,
        "--texts": request.texts,
        "--data": request.data,
        "--gradients": request.gradients,
        "--select": request.select or None,
        "--defence": request.defences or None,
    }
    for argument, value in given.items():
        if value is not None:
            raise BadInput(argument, str(value), "has no meaning on the parameters surface", "leave it out")
    if request.batch != 1:
        raise BadInput("--batch", request.batch, "has no meaning on the parameters surface", "use --limit")


def _read(
    before: Path, after: Path, found: Images | None, limit: int | None
) -> tuple[WeightsSubject, Images | None, Images | None]:
    start, final = (
        weight_files.read(path, argument=argument)
        for path, argument in ((before, "--weights-before"), (after, "--weights-after"))
    )
    shape = None if found is None else (found.pixels.shape[1], found.pixels.shape[2], found.pixels.shape[3])
    model, named = weight_files.perceptron(start, shape, argument="--weights-before")
    other, ended = weight_files.perceptron(final, shape, argument="--weights-after")
    if other.sizes != model.sizes or other.bias != model.bias:
        rule = f"has layers of {other.sizes} where --weights-before has {model.sizes}"
        raise BadInput("--weights-after", str(after), rule, "give two files of one training")
    subject = WeightsSubject(title=after.stem, model=model, start=named, final=ended)
    if found is None:
        return subject, None, None
    count = found.size if limit is None else min(found.size, at_least_one("--limit", limit))
    return subject, _part(found, 0, count), _part(found, count, 2 * count)


def _trained(found: Images, limit: int | None, seed: int) -> tuple[WeightsSubject, Images, Images | None]:
    count = min(COUNT if limit is None else at_least_one("--limit", limit), found.size)
    secret = _part(found, 0, count)
    assert secret is not None
    shape = (found.pixels.shape[1], found.pixels.shape[2], found.pixels.shape[3])
    model = PublicMLP(shape=shape, hidden=(WIDTH,))
    start = initial(model, generator(seed, "weights"), secret.pixels.dtype)
    labels = secret.labels % 2 if secret.labels is not None else (secret.pixels.new_tensor(range(count)) % 2).long()
    wanted = targets(labels, 2).to(secret.pixels.dtype)
    final = train(model, start, model.inputs(secret.pixels), wanted, TRAINING).weights
    subject = WeightsSubject(title=f"perceptron-{WIDTH}", model=model, start=start, final=final)
    return subject, secret, _part(found, count, 2 * count)


def _part(found: Images, begin: int, end: int) -> Images | None:
    pixels = found.pixels[begin:end]
    if not len(pixels):
        return None
    return Images(pixels=pixels, labels=None if found.labels is None else found.labels[begin:end])
