"""The training loop: Poisson draws, one step for each, a checkpoint now and then, and the way back after a kill."""

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unmask import storage
from unmask.defences.training.draws import poisson
from unmask.defences.training.losses import batched, chosen, losses, refuse
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.step import PlainStep, PrivateStep, Step
from unmask.errors import BadInput
from unmask.privacy.sampling import Randomness
from unmask.victim import Secret
from unmask.victims.torch_model import TorchModel

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands.

    Args:
        step: number of steps taken.
        steps: number of steps in all.
    """

    step: int
    steps: int


def train(
    model: TorchModel,
    sequences: Sequence[Secret],
    training: Training,
    privacy: Privacy | None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    every: float = 60.0,
    progress: Callable[[Progress], None] = lambda now: None,
) -> nn.Module:
    """Return a trained copy of the model's module; the model itself stays as it is.

    Each step draws every sequence with the same chance, independently (Poisson sampling: what the accountant
    assumes, and what shuffled batches are not), from the system's entropy unless there is a seed. A step that was cut
    off by a kill is drawn again: nobody saw it.

    Args:
        model: the public model that is started from.
        sequences: the private examples, each of size 1.
        training: how to train.
        privacy: noise and clipping, or None to train without them.
        folder: where checkpoints are written, or None for none.
        resume: go on from the checkpoint in the folder, if there is one.
        every: seconds between two checkpoints.
        progress: called after every step.

    Raises:
        BadInput: if the model cannot be trained privately, a gradient is not finite, or the checkpoint is another's.
        MissingExtra: if Opacus is not installed.
        StorageError: if a checkpoint cannot be written.
    """
    module = copy.deepcopy(model.module)
    trained = chosen(model, module, training.train)
    if privacy is not None:
        refuse(module, trained)
    optimiser = torch.optim.Adam(list(trained.values()), lr=training.learning_rate)
    randomness = Randomness(seed=training.seed)
    rate, steps = training.rate(len(sequences)), training.steps(len(sequences))
    identity = _identity(model, sequences, training, privacy)
    begun = _load(folder / CHECKPOINT, identity, trained, optimiser) if folder is not None and resume else 0
    if begun and training.seed is not None:
        randomness = Randomness(seed=training.seed + 1_000_003 * begun)
    step = _step(model, module, trained, optimiser, training, privacy, rate * len(sequences), randomness)
    filling, saved = model.vocabulary.pad or 0, time.monotonic()
    for index in range(begun, steps):
        drawn = poisson(len(sequences), rate, randomness)
        step.take(batched([sequences[i] for i in drawn], training.physical, filling))
        if folder is not None and (time.monotonic() - saved > every or index + 1 == steps):
            _save(folder / CHECKPOINT, identity, index + 1, trained, optimiser)
            saved = time.monotonic()
        progress(Progress(step=index + 1, steps=steps))
    step.close()
    return module


def _step(
    model: TorchModel,
    module: nn.Module,
    trained: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    training: Training,
    privacy: Privacy | None,
    expected: float,
    randomness: Randomness,
) -> Step:
    call, dropout = partial(losses, model), training.dropout
    if privacy is None:
        return PlainStep(module, call, trained, optimiser, expected=expected, dropout=dropout)
    return PrivateStep(
        module,
        call,
        trained,
        optimiser,
        noise=privacy.noise,
        clip=privacy.clip,
        expected=expected,
        randomness=randomness,
        dropout=dropout,
    )


def _identity(
    model: TorchModel, sequences: Sequence[Secret], training: Training, privacy: Privacy | None
) -> dict[str, str]:
    # How many there are and how long they are notices other data without being a digest of anybody's.
    data = [len(sequences), sum(one.ids.shape[1] for one in sequences)]
    settings = [asdict(training), None if privacy is None else asdict(privacy)]
    return {"model": model.name, "data": json.dumps(data), "settings": json.dumps(settings)}


def _save(
    path: Path, identity: Mapping[str, str], step: int, trained: Mapping[str, nn.Parameter], adam: torch.optim.Optimizer
) -> None:
    tensors: dict[str, Tensor] = {}
    for name, parameter in trained.items():
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key, value in adam.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = torch.as_tensor(value).contiguous()
    storage.replace_bytes(path, save(tensors, metadata={**identity, "step": str(step)}))


def _load(
    path: Path, identity: Mapping[str, str], trained: Mapping[str, nn.Parameter], adam: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        head = file.metadata() or {}
        for key, value in identity.items():
            if head.get(key) != value:
                remedy = "give the same arguments, or name another folder"
                raise BadInput("--resume", str(path), f"holds a training with other {key}", remedy)
        for name, parameter in trained.items():
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"weight/{name}"))
            state = {key: f"{key}/{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
            if state["step"] in file.keys():  # noqa: SIM118 - no mapping
                adam.state[parameter] = {key: file.get_tensor(where) for key, where in state.items()}
    return int(head["step"])
