"""Train a linear head alone: what the frozen model hands it is computed once for each text, not once a step."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from unmask.defences.training.loop import Progress, train
from unmask.defences.training.losses import batched, chosen
from unmask.defences.training.plan import Privacy, Training
from unmask.victim import Secret
from unmask.victims.capture import mode, recording
from unmask.victims.module import wrap_module
from unmask.victims.torch_model import TorchModel

AT_ONCE = 16
"""Texts in one forward pass of the frozen part."""
STEPS, RATE = 40, 0.03
"""Settings that were best, or next to it, at epsilon 1, 3 and 8 on texts that no row reports."""


class Head(nn.Module):
    """A linear head on stored features.

    Args:
        linear: the head, which is copied.
        features: (N, d) what it reads of each text.
    """

    def __init__(self, linear: nn.Linear, features: Tensor) -> None:
        super().__init__()
        self.features = nn.Embedding.from_pretrained(features)
        self.linear = copy.deepcopy(linear)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, classes) of the texts whose numbers are ids (B, 1)."""
        return cast(Tensor, self.linear(self.features(ids)[:, 0]))


def settings(records: int, head: str) -> Training:
    """Return how to train a head on frozen features: all texts in every step, so that no draw adds to the noise.

    Args:
        records: N, number of training examples.
        head: name of the head's module.
    """
    return Training(epochs=float(STEPS), batch=records, learning_rate=RATE, train=f"re:^{head}\\.", physical=64)


def head(model: TorchModel, training: Training) -> str | None:
    """Return the path of the linear head if a training moves all of it and nothing else, and without dropout.

    Args:
        model: what is started from.
        training: how it will be trained.
    """
    if training.dropout or model.classes is None:
        return None
    names = set(chosen(model, model.module, training.train))
    for path, module in model.module.named_modules():
        own = {f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)}
        # What it returns has to be the logits, as far as shapes tell.
        if own == names and isinstance(module, nn.Linear) and module.out_features == model.classes:
            return path
    return None


@torch.no_grad()
def features(model: TorchModel, sequences: Sequence[Secret], path: str, *, at_once: int = AT_ONCE) -> Tensor:
    """Return what a module reads of each text (N, d), in the order given.

    Args:
        model: what is started from.
        sequences: each of size 1.
        path: the module's.
        at_once: texts in one forward pass; with 1 no feature depends on other texts, not even in its last bits.
    """
    module: Any = model.modules[path]
    found: dict[int, Tensor] = {}
    filling = model.vocabulary.pad or 0
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].ids.shape[1])
    parts = batched([sequences[i] for i in order], at_once, filling)
    with mode(model.module, training=False):
        for number, part in enumerate(parts):
            with recording({path: module}, stop=True) as tape:
                model.forward(model.module, part.ids, None if bool(part.mask.all()) else part.mask, None)
            for row, one in zip(order[number * at_once :], tape.inputs[path], strict=False):
                found[row] = one
    return torch.stack([found[i] for i in range(len(sequences))])


def train_head(
    model: TorchModel,
    sequences: Sequence[Secret],
    training: Training,
    privacy: Privacy | None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda now: None,
    seen: Tensor | None = None,
) -> nn.Module:
    """Return a trained copy of the model's module, as `train` does, of which only the head moved.

    Per-example gradients of the head depend on its inputs alone, so that the steps are those of `train`, with the
    same law of draws and noise.

    Args:
        model: what is started from.
        sequences: the private examples, each of size 1.
        training: moves the head alone; see `head`.
        privacy: noise and clipping, or None to train without them.
        folder: where checkpoints are written, or None.
        resume: go on from the checkpoint in the folder.
        progress: called after every step.
        seen: (N, d) what `features` returned for these texts, or None to compute it.

    Raises:
        BadInput: as `train`.
        MissingExtra: if Opacus is not installed.
        StorageError: if a checkpoint cannot be written.
    """
    path = head(model, training)
    assert path is not None  # the caller asked
    if seen is None:
        seen = features(model, sequences, path, at_once=1 if training.physical == 1 else AT_ONCE)
    linear = cast(nn.Linear, model.modules[path])
    short = wrap_module(
        Head(linear, seen).eval(),
        encode=lambda text: [0],
        decode=lambda ids: " ".join(map(str, ids)),
        vocabulary_size=len(sequences),
        name=model.name,
    ).model
    numbers = [
        Secret(ids=torch.tensor([[i]]), mask=torch.ones(1, 1).bool(), labels=one.labels, texts=("",))
        for i, one in enumerate(sequences)
    ]
    own = replace(training, train=r"re:^linear\.")
    done = train(short, numbers, own, privacy, folder=folder, resume=resume, progress=progress)
    whole = copy.deepcopy(model.module)
    whole.get_submodule(path).load_state_dict(cast(Head, done).linear.state_dict())
    return whole
