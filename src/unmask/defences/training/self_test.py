"""The self-test of a private training: does the step that is taken do what the accountant assumes?

It runs on random public texts before any private one is read, on copies of the model that is going to be trained.
"""

import copy
from functools import partial

import torch
from torch import nn

from unmask.defences.training import measures
from unmask.defences.training.accounted import accounted
from unmask.defences.training.check import Check
from unmask.defences.training.draws import poisson
from unmask.defences.training.losses import chosen, joined, losses, refuse
from unmask.defences.training.measures import BATCH, LENGTHS, Maker, Sampler
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.step import PrivateStep
from unmask.errors import BadInput
from unmask.privacy.sampling import Randomness
from unmask.victim import Secret
from unmask.victims.torch_model import TorchModel


def self_test(
    model: TorchModel,
    training: Training,
    privacy: Privacy,
    records: int,
    *,
    randomness: Randomness | None = None,
    make: Maker | None = None,
    sampler: Sampler = poisson,
) -> tuple[Check, ...]:
    """Return what the step and the draws of a private training really do, beside what they have to do.

    Checked are: no example is mixed with another and no parameter has two owners; each example's gradient, against
    one backward pass for it alone; each clipped contribution against C; the noise's mean, deviation and freshness
    against sigma C / (q N); which parameters move, of those that are trained and those that are not; an empty
    batch; the draws against the rate that is accounted for; and epsilon against Opacus' own accountant.

    Args:
        model: the public model.
        training: how it will be trained.
        privacy: noise and clipping.
        records: N, number of training examples.
        randomness: source of texts, noise and draws, by default the system's.
        make: makes the step that is tested, by default the one that is used.
        sampler: the draws that are tested, by default those that are used.

    Raises:
        MissingExtra: if Opacus or dp-accounting is not installed.
    """
    source = randomness or Randomness()
    build = make or partial(_made, model, training)
    batch = decoys(model, source)
    try:
        module = copy.deepcopy(model.module)
        refuse(module, chosen(model, module, training.train))
    except BadInput as error:
        return (Check(name="separate examples", passed=False, measured=str(error), expected="none mixed or tied"),)
    separate = Check(
        name="separate examples", passed=True, measured="none mixed or tied", expected="none mixed or tied"
    )
    try:
        return (
            separate,
            measures.gradients(model, build, batch, source),
            measures.clipping(model, build, batch, source),
            *measures.noise(model, build, privacy, source),
            *measures.moved(model, build, training, privacy, batch, source),
            measures.drawn(training, records, sampler, source),
            accounted(training, privacy, records),
        )
    except BadInput as error:
        return (separate, Check(name="a step", passed=False, measured=str(error), expected="is taken"))


def decoys(model: TorchModel, randomness: Randomness) -> Secret:
    """Return random public texts of unequal lengths with random labels, filled to one batch.

    Args:
        model: whose vocabulary they are drawn from.
        randomness: source of the draws.
    """
    vocabulary = model.vocabulary
    ordinary = [i for i in range(vocabulary.size) if i not in vocabulary.special]
    found = []
    for length in LENGTHS if vocabulary.pad is not None and model.masks else (LENGTHS[0],) * BATCH:
        inner = max(2, min(length, model.max_length) - len(vocabulary.prefix) - len(vocabulary.suffix))
        row = [
            *vocabulary.prefix,
            *(ordinary[randomness.below(len(ordinary))] for _ in range(inner)),
            *vocabulary.suffix,
        ]
        labels = None if model.classes is None else torch.tensor([randomness.below(model.classes)])
        found.append(Secret(ids=torch.tensor([row]), mask=torch.ones(1, len(row)).bool(), labels=labels, texts=("",)))
    return joined(found, vocabulary.pad or 0)


def _made(
    model: TorchModel, training: Training, module: nn.Module, noise: float, clip: float, source: Randomness
) -> PrivateStep:
    trained = chosen(model, module, training.train)
    # Plain descent of size 1: the parameters' move is the released gradient.
    return PrivateStep(
        module,
        partial(losses, model),
        trained,
        torch.optim.SGD(list(trained.values()), lr=1.0),
        noise=noise,
        clip=clip,
        expected=float(BATCH),
        randomness=source,
    )
