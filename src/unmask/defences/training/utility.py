"""What a trained classifier is worth on texts that it was not trained on."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from unmask.defences.training.losses import batched, losses
from unmask.metrics.classes import accuracy, matthews
from unmask.victim import Secret
from unmask.victims.capture import mode
from unmask.victims.torch_model import TorchModel

AT_ONCE = 32
"""Texts in one forward pass."""


@torch.no_grad()
def utility(model: TorchModel, module: nn.Module, sequences: Sequence[Secret]) -> Mapping[str, float]:
    """Return accuracy and Matthews' correlation of a classifier, or the mean loss of a next-token predictor.

    Args:
        model: how the module is called.
        module: the trained module.
        sequences: texts with their labels, each of size 1.
    """
    total, truth, guess = 0.0, [], []
    with mode(module, training=False):
        for batch in batched(sequences, AT_ONCE, model.vocabulary.pad or 0):
            if model.classes is None or batch.labels is None:
                total += float(losses(model, module, batch).sum())
                continue
            mask = None if bool(batch.mask.all()) else batch.mask
            guess += model.forward(module, batch.ids, mask, None).argmax(1).tolist()
            truth += batch.labels.tolist()
    if not truth:
        return {"loss": total / len(sequences)}
    return {"accuracy": accuracy(truth, guess), "matthews": matthews(truth, guess)}
