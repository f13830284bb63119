"""Weights before and after a training, from safetensors files of the user's."""

import itertools
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unmask.errors import BadInput
from unmask.weights import PublicMLP

Weights = dict[str, Tensor]
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def read(path: Path, *, argument: str) -> Weights:
    """Return the tensors of a safetensors file.

    Args:
        path: the file.
        argument: what the caller calls it; errors use it.

    Raises:
        BadInput: if it is pickled, which could run any code, or cannot be read.
    """
    if path.suffix.lower() in PICKLED:
        remedy = "save it with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        raise BadInput(argument, str(path), "is a pickled checkpoint, which is never opened", remedy)
    if not path.is_file():
        raise BadInput(argument, str(path), "is no file", "name a .safetensors file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(argument, str(path), f"cannot be read ({error})", "give a .safetensors file") from error


def perceptron(weights: Weights, shape: tuple[int, int, int] | None, *, argument: str) -> tuple[PublicMLP, Weights]:
    """Return the ReLU perceptron that the tensors are, and the tensors under this project's names.

    Matrices are taken in the order of the numbers in their names, each with the vector of the same name.

    Args:
        weights: tensors by name, such as `0.weight`, `0.bias`, `2.weight`, ... of `torch.nn.Sequential`.
        shape: channels, height and width of an image, or None to take the only fitting square.
        argument: what the caller calls the file; errors use it.

    Raises:
        BadInput: if they are not the layers of one perceptron.
    """
    remedy = "only fully connected ReLU networks are built: matrices NAME.weight, each with NAME.bias or none"
    names = sorted((name for name in weights if name.endswith("weight")), key=_natural)
    stems = [name.removesuffix("weight") for name in names]
    biases = [f"{stem}bias" for stem in stems if f"{stem}bias" in weights]
    if len(names) < 2 or len(biases) not in (0, len(names)) or len(names) + len(biases) != len(weights):
        raise BadInput(argument, sorted(weights), "are not the layers of a perceptron", remedy)
    matrices = [weights[name] for name in names]
    if any(m.dim() != 2 for m in matrices):
        raise BadInput(argument, [tuple(m.shape) for m in matrices], "are not all matrices", remedy)
    if any(a.shape[0] != b.shape[1] for a, b in itertools.pairwise(matrices)):
        raise BadInput(argument, [tuple(m.shape) for m in matrices], "do not follow one another", remedy)
    shape = square(matrices[0].shape[1]) if shape is None else shape
    model = PublicMLP(
        shape=shape,
        hidden=tuple(m.shape[0] for m in matrices[:-1]),
        outputs=matrices[-1].shape[0],
        bias=bool(biases),
    )
    if model.sizes[0] != matrices[0].shape[1]:
        rule = f"are not the {matrices[0].shape[1]} inputs of {argument}"
        raise BadInput("--images", shape, rule, "give the images that the network was trained on")
    named = {f"layer.{at}.weight": matrix for at, matrix in enumerate(matrices)}
    if biases:
        named |= {f"layer.{at}.bias": weights[f"{stem}bias"] for at, stem in enumerate(stems)}
    return model, named


def square(size: int) -> tuple[int, int, int]:
    """Return the shape of a square image of so many numbers: grey if that fits, else colour, else one row.

    Args:
        size: number of inputs.

    Example:
        >>> square(784), square(3072), square(7)
        ((1, 28, 28), (3, 32, 32), (1, 1, 7))
    """
    for channels in (1, 3):
        side = round((size / channels) ** 0.5)
        if channels * side * side == size:
            return channels, side, side
    return 1, 1, size


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
