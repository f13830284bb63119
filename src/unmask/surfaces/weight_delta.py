"""A fine-tuned transformer beside the one it began as: their difference is a sum of gradients."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from unmask.errors import BadInput
from unmask.observation import Knowledge, Observation
from unmask.public import PublicModel
from unmask.surfaces.gradient import as_seen, check

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def read_checkpoint(path: Path, *, argument: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, or of all such files of a model's folder.

    Args:
        path: the file or the folder.
        argument: what the caller calls it; errors use it.

    Raises:
        BadInput: if it is pickled, which could run any code, or there is nothing to read.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    pickled = [file for file in (path.iterdir() if path.is_dir() else files) if file.suffix.lower() in PICKLED]
    if pickled and (not path.is_dir() or not files):
        remedy = "save it with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        raise BadInput(argument, str(pickled[0]), "is a pickled checkpoint, which is never opened", remedy)
    if not files or not files[0].is_file():
        raise BadInput(argument, str(path), "holds no safetensors file", "name a .safetensors file or its folder")
    found: dict[str, Tensor] = {}
    try:
        for file in files:
            with safe_open(file, framework="pt") as opened:
                found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise BadInput(argument, str(path), f"cannot be read ({error})", "give a .safetensors file") from error
    return found


def weight_delta(
    model: PublicModel,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    knowledge: Knowledge,
    *,
    argument: str = "--after",
) -> Observation:
    """Return `(theta_0 - theta_K) / learning_rate` by place: the sum of the gradients of K steps of plain descent.

    Parameters that `after` lacks, or that did not move, are left out, since many a fine-tuning freezes
    some. Without a learning rate the sum is known up to its factor.

    Args:
        model: the public model before fine-tuning.
        before: its parameters by name.
        after: parameters after it.
        knowledge: what is known of the training.
        argument: what the caller calls `after`; errors use it.

    Raises:
        BadInput: if `after` is of another model, equals `before`, or is not finite.
    """
    strange = sorted(set(after) - set(before))
    if strange and not set(after) & set(before):
        raise BadInput(argument, strange[:3], "are names of another model", f"save them as {next(iter(before))}, ...")
    for name in set(before) & set(after):
        if before[name].shape != after[name].shape:
            rule = f"has {name} of {tuple(after[name].shape)} where the model has {tuple(before[name].shape)}"
            raise BadInput(argument, name, rule, "give a fine-tuned copy of the same model")
    rate = knowledge.learning_rate or 1.0
    change = {name: (before[name].double() - after[name].double()) / rate for name in before if name in after}
    moved = {
        place.name: as_seen(place, change[place.parameter])
        for place in model.places
        if place.parameter in change and bool(change[place.parameter].any())
    }
    if not moved:
        raise BadInput(argument, "the weights", "equal those before training", "give the fine-tuned model")
    check(moved, argument=argument, value="the weights")
    return Observation(tensors=moved, model=model, knowledge=knowledge)
