"""Vision transformers by name: those that ship with the project, a file of its own, or a directory."""

from pathlib import Path

from unmask.poly import demo
from unmask.victims import hf, polynomial_vision, torch_vision
from unmask.victims.torch_vision import DEMO, TorchVision


def named(model: str) -> bool:
    """Whether a model given by name or path is one of images.

    Args:
        model: what stands after `--model`.
    """
    return model == DEMO or polynomial(model) or Path(model).suffix == ".safetensors" or hf.pictured(model)


def polynomial(model: str) -> bool:
    """Whether a model given by name or path is a polynomial network, as `unmask poly convert` writes it.

    Args:
        model: what stands after `--model`.
    """
    return model == demo.NAME or (Path(model) / "network.json").is_file()


def find(model: str, *, offline: bool = True) -> TorchVision:
    """Return the vision transformer of a name or path.

    Args:
        model: `vit-demo`, `fashion-mnist-poly` or the folder of another polynomial network, a `.safetensors` file
            of this project, or a directory of the Hugging Face library.
        offline: never ask the hub.

    Raises:
        BadInput: if it cannot be loaded.
    """
    if model == DEMO:
        return torch_vision.demo()
    if polynomial(model):
        return polynomial_vision.load(Path(model))
    if Path(model).suffix == ".safetensors":
        return torch_vision.load(model)
    return hf.load_vision(model, offline=offline)
