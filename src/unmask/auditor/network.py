"""Networks whose published weights are audited: the user's files, or one that is trained on the spot."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from unmask.auditor.weights import WeightsSubject
from unmask.defence import Stated
from unmask.defences.training_task import Task, TrainingDefence
from unmask.defences.trainings import Undefended
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.victims import weight_files
from unmask.victims.mlp import Descent, initial, targets
from unmask.vision import Images
from unmask.weights import PublicMLP

WIDTH = 1024
COUNT = 20
"""Images of the network that is trained on the spot, where nothing else is said."""
TRAINING = Descent(learning_rate=3e-3, steps=1000, loss=1e-4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """What is audited.

    Args:
        subject: the network before and after training.
        secret: the training images, or None if they are not known.
        outside: images of the same source that were not in training, or None.
        guarantees: what its defence states.
    """

    subject: WeightsSubject
    secret: Images | None
    outside: Images | None
    guarantees: tuple[Stated, ...] = field(default=())


def from_files(before: Path, after: Path, found: Images | None, limit: int | None) -> Network:
    """Return a perceptron from two safetensors files.

    Args:
        before: weights before training.
        after: weights after it.
        found: images, first those that were in training, then others; None if they are not known.
        limit: number of images that were in training, or None if all were.

    Raises:
        BadInput: if a file is pickled or no perceptron, or the two differ.
    """
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
        return Network(subject=subject, secret=None, outside=None)
    count = found.size if limit is None else min(found.size, positive(limit))
    return Network(subject=subject, secret=_part(found, 0, count), outside=_part(found, count, 2 * count))


def trained(found: Images, limit: int | None, seed: int, defence: TrainingDefence | None = None) -> Network:
    """Return a perceptron that is trained on the first images, odd against even classes, under a defence.

    Args:
        found: images.
        limit: how many are trained on; None for `COUNT`.
        seed: of the weights before training, and of what the defence draws.
        defence: how it is trained and published; None for the ordinary way.

    Raises:
        BadInput: if the defence cannot be applied.
    """
    count = min(COUNT if limit is None else positive(limit), found.size)
    secret = _part(found, 0, count)
    assert secret is not None
    shape = (found.pixels.shape[1], found.pixels.shape[2], found.pixels.shape[3])
    model = PublicMLP(shape=shape, hidden=(WIDTH,))
    start = initial(model, generator(seed, "weights"), secret.pixels.dtype)
    labels = secret.labels % 2 if secret.labels is not None else (secret.pixels.new_tensor(range(count)) % 2).long()
    wanted = targets(labels, 2).to(secret.pixels.dtype)
    task = Task(model=model, start=start, inputs=model.inputs(secret.pixels), wanted=wanted, descent=TRAINING)
    given = (defence or Undefended()).train(task, generator(seed, "defence"))
    # The settings of a decay are public, so the adversary subtracts the start as far as it was left.
    known: Mapping[str, Tensor] = {name: given.shrunk * tensor for name, tensor in given.start.items()}
    subject = WeightsSubject(title=f"perceptron-{WIDTH}", model=model, start=known, final=given.final)
    stated = () if defence is None else (stated_by(defence),)
    return Network(subject=subject, secret=secret, outside=_part(found, count, 2 * count), guarantees=stated)


def stated_by(defence: TrainingDefence) -> Stated:
    """Return what a defence states; an audit draws from its seed, which voids every epsilon.

    Args:
        defence: the defence.
    """
    guarantee = defence.guarantee()
    return Stated(name=defence.name, guarantee=replace(guarantee, void=guarantee.epsilon is not None))


def positive(limit: int) -> int:
    """Pass a number of images.

    Args:
        limit: the number.

    Raises:
        BadInput: if it is not positive.
    """
    if limit < 1:
        raise BadInput("--limit", limit, "is below 1", "give at least 1")
    return limit


def _part(found: Images, begin: int, end: int) -> Images | None:
    pixels = found.pixels[begin:end]
    if not len(pixels):
        return None
    return Images(pixels=pixels, labels=None if found.labels is None else found.labels[begin:end])
