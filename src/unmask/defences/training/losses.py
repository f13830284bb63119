"""The loss of each sequence alone, batches of single sequences, and which parameters are trained."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BadInput
from unmask.surfaces.selector import ALL, select
from unmask.victim import Secret
from unmask.victims.torch_model import TorchModel


def losses(model: TorchModel, module: nn.Module, batch: Secret) -> Tensor:
    """Return each sequence's own loss (B,): its class's cross-entropy, or the mean over its predicted tokens.

    Args:
        model: how the module is called.
        module: the module, or a copy of it that is being trained.
        batch: the sequences.
    """
    mask = None if bool(batch.mask.all()) else batch.mask
    logits = model.forward(module, batch.ids, mask, None)
    if model.classes is not None:
        assert batch.labels is not None  # checked where the secrets were made
        return F.cross_entropy(logits, batch.labels, reduction="none")
    per_token = F.cross_entropy(logits[:, :-1].transpose(1, 2), batch.ids[:, 1:], reduction="none")
    predicted = batch.mask[:, 1:]
    return (per_token * predicted).sum(1) / predicted.sum(1)


def joined(sequences: Sequence[Secret], filling: int) -> Secret:
    """Return single sequences as one batch, short ones filled at the end.

    Args:
        sequences: at least one, each of size 1.
        filling: the token id to fill with.
    """
    longest = max(one.ids.shape[1] for one in sequences)
    ids = torch.full((len(sequences), longest), filling)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for row, one in enumerate(sequences):
        ids[row, : one.ids.shape[1]] = one.ids[0]
        mask[row, : one.ids.shape[1]] = one.mask[0]
    labels = [one.labels for one in sequences if one.labels is not None]
    return Secret(
        ids=ids,
        mask=mask,
        labels=torch.cat(labels) if labels else None,
        texts=tuple(text for one in sequences for text in one.texts),
    )


def chosen(
    model: TorchModel, module: nn.Module, selection: str, *, argument: str = "--train"
) -> dict[str, nn.Parameter]:
    """Return the module's parameters that a selection trains, by name.

    Args:
        model: its places give the selection a meaning.
        module: the module, or a copy of it.
        selection: see `unmask.surfaces.selector`; `all` for every parameter.
        argument: what the caller calls the selection.

    Raises:
        BadInput: if it matches nothing.
    """
    every = dict(module.named_parameters())
    if selection == ALL:
        return every
    names = {place.parameter for place in select(model.places, selection, argument=argument)}
    return {name: parameter for name, parameter in every.items() if name in names}


def batched(sequences: Sequence[Secret], size: int, filling: int) -> list[Secret]:
    """Return single sequences as batches of at most `size`, those of like length together.

    Args:
        sequences: each of size 1.
        size: the most in one batch.
        filling: the token id to fill with.
    """
    order = sorted(sequences, key=lambda one: one.ids.shape[1])
    return [joined(order[start : start + size], filling) for start in range(0, len(order), size)]


def refuse(module: nn.Module, trained: Mapping[str, nn.Parameter], *, argument: str = "--model") -> None:
    """Pass a module of which every trained parameter has a gradient of its own for every example.

    Args:
        module: what is to be trained.
        trained: the parameters that are, by name.
        argument: what the caller calls the module.

    Raises:
        BadInput: if nothing is trained, examples are mixed by a batch norm, or a trained parameter has two owners.
    """
    if not trained:
        raise BadInput("--train", "nothing", "is trained", "select parameters, or all")
    for path, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            rule = f"has {type(child).__name__} at {path or 'its root'}, whose statistics mix the examples of a batch"
            raise BadInput(argument, type(module).__name__, rule, "replace it by a layer or group norm")
    wanted = {id(parameter): name for name, parameter in trained.items()}
    owners: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for key, names in owners.items():
        if len(names) > 1 and key in wanted:
            rule = f"ties {names[0]} to {names[1]}, whose per-example gradients would have to be added before clipping"
            raise BadInput(argument, type(module).__name__, rule, "untie them, or leave both out of --train")
