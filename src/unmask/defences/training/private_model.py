"""From a model, examples and a promise to a trained model with a guarantee: what `unmask defend` does."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import nn

from unmask import settings, storage
from unmask.defence import Guarantee
from unmask.defences.dp_sgd import DpSgd
from unmask.defences.training import frozen
from unmask.defences.training.check import Check
from unmask.defences.training.loop import CHECKPOINT, Progress, train
from unmask.defences.training.losses import chosen
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.self_test import self_test
from unmask.defences.training.utility import utility
from unmask.errors import BadInput
from unmask.surfaces.dp_gradient import Reading
from unmask.victim import Secret
from unmask.victims.torch_model import TorchModel

HEAD = "defence.json"
"""File beside a defended model that says what it was defended by and what holds."""
SCHEMA = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class PrivateModel:
    """A trained module with what holds for it.

    Args:
        module: the trained copy.
        defence: what it was trained by, with the noise that was found; None without privacy.
        guarantee: what holds for every example; nothing without privacy.
        checks: the self-test; empty without privacy.
        measured: accuracy and more on texts that it was not trained on; empty where none were given.
        facts: number of examples, steps, rate and seconds.
    """

    module: nn.Module
    defence: DpSgd | None
    guarantee: Guarantee
    checks: tuple[Check, ...] = field(default=())
    measured: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, int | float] = field(default_factory=dict)

    def described(self) -> dict[str, object]:
        """Return everything but the module as values that JSON can hold."""
        return {
            "schema": SCHEMA,
            "defence": None if self.defence is None else {"name": self.defence.name, **settings.to_json(self.defence)},
            "guarantee": asdict(self.guarantee),
            "sentence": str(self.guarantee),
            "checks": [asdict(check) for check in self.checks],
            "utility": dict(self.measured),
            "facts": dict(self.facts),
        }


def privacy_of(defence: DpSgd, training: Training, records: int) -> Privacy:
    """Return noise and clipping of a defence for a training, the noise found from epsilon if that was given.

    Args:
        defence: gives epsilon or noise, clip and delta.
        training: gives rate and steps.
        records: number of training examples.

    Raises:
        BadInput: if the defence sets what the training decides, or reads the gradient around the noise.
        MissingExtra: if dp-accounting is not installed.
    """
    for name in ("rate", "steps", "train"):
        if getattr(defence, name) != getattr(DpSgd(), name):
            remedy = "give --epochs, --batch and --train"
            raise BadInput("--defence", f"{name}={getattr(defence, name)}", "is decided by the training", remedy)
    if defence.reading is not Reading.RELEASED:
        raise BadInput("--defence", f"reading={defence.reading}", "is an attack's, not a training's", "leave it out")
    if defence.epsilon is not None:
        return Privacy.calibrated(defence.epsilon, defence.delta, defence.clip, training, records)
    return Privacy(noise=defence.sigma, clip=defence.clip, delta=defence.delta)


def defend(
    model: TorchModel,
    sequences: Sequence[Secret],
    training: Training,
    defence: DpSgd | None,
    *,
    held: Sequence[Secret] = (),
    folder: Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda now: None,
) -> PrivateModel:
    """Return a privately trained copy of a model with its guarantee, or a plainly trained one.

    The self-test comes first, on public texts; the training does not begin where it fails.

    Args:
        model: what is started from.
        sequences: the private examples, each of size 1.
        training: how to train.
        defence: what promises privacy, or None.
        held: texts to measure the utility on; what is measured on private texts is not covered by the guarantee.
        folder: where checkpoints are written, or None.
        resume: go on from the checkpoint in the folder.
        progress: called after every step.

    Raises:
        BadInput: if an argument cannot be used or the self-test fails.
        MissingExtra: if Opacus or dp-accounting is not installed.
    """
    began, records = time.monotonic(), len(sequences)
    privacy = None if defence is None else privacy_of(defence, training, records)
    checks: tuple[Check, ...] = ()
    guarantee, used = Guarantee(), defence
    if privacy is not None and defence is not None:
        checks = self_test(model, training, privacy, records)
        if failed := [check for check in checks if not check.passed]:
            raise BadInput("--model", model.name, f"fails the self-test: {failed[0]}", "see the limits of DP-SGD")
        guarantee = privacy.guarantee(training, records, status="tested")
        rate, steps = training.rate(records), training.steps(records)
        used = replace(defence, epsilon=None, noise=privacy.noise, rate=rate, steps=steps, train=training.train)
    run = frozen.train_head if frozen.head(model, training) is not None else train
    module = run(model, sequences, training, privacy, folder=folder, resume=resume, progress=progress)
    return PrivateModel(
        module=module,
        defence=used,
        guarantee=guarantee,
        checks=checks,
        measured=utility(model, module, held) if held else {},
        facts={
            "examples": records,
            "steps": training.steps(records),
            "rate": training.rate(records),
            "trained parameters": sum(p.numel() for p in _trained(model, module, training)),
            "seconds": round(time.monotonic() - began, 1),
        },
    )


def describe(found: PrivateModel, training: Training, folder: Path) -> Path:
    """Write what holds for a trained model beside it, and remove its checkpoint.

    Args:
        found: the trained model.
        training: how it was trained.
        folder: the model's folder.

    Raises:
        StorageError: if it cannot be written.
    """
    content = {**found.described(), "training": settings.to_json(training)}
    path = storage.replace(folder / HEAD, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return path


def _trained(model: TorchModel, module: nn.Module, training: Training) -> list[nn.Parameter]:
    return list(chosen(model, module, training.train).values())
