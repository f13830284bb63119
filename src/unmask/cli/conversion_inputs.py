"""What `unmask poly convert` starts from: the model by its name, and labelled inputs in two parts."""

from dataclasses import dataclass
from pathlib import Path

import torch

from unmask.errors import BadInput
from unmask.poly.conversion.data import Part
from unmask.rng import generator
from unmask.victims import corpora, demo, hf, images, torch_vision, vision_models
from unmask.victims.pretrained import Pretrained, pictures, sentences
from unmask.victims.torch_vision import TorchVision

REMEDY = "give vit-demo, a .safetensors file of this project, or a Hugging Face directory"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """A vision transformer with its labelled images.

    Args:
        model: what is converted.
        train: all but the last tenth.
        held: the last tenth.
    """

    model: TorchVision
    train: Part
    held: Part

    def start(self) -> Pretrained:
        """Return it for a conversion that keeps its forward."""
        return pictures(self.model)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sentences:
    """A model of text with its sentences.

    Args:
        loaded: what is converted, with its tokenizer.
        train: token numbers with a class each, or with the next tokens of a language model.
        held: the last tenth.
        classes: their number; None for a language model.
        pad: number of the padding token.
    """

    loaded: hf.Loaded
    train: Part
    held: Part
    classes: int | None
    pad: int

    def start(self) -> Pretrained:
        """Return it for a conversion that keeps its forward."""
        return sentences(self.loaded)


def read(model: str, data: Path, limit: int | None, seed: int, tokens: int) -> Pictures | Sentences:
    """Return the model and its data, by the model's kind.

    Args:
        model: what stands after the command.
        data: a file or a folder.
        limit: how many inputs, or None.
        seed: of the choice, and of a head that the model does not have.
        tokens: of a sentence, padding included.

    Raises:
        BadInput: if the model or the data cannot be used.
    """
    if vision_models.named(model):
        return _pictures(model, data, limit, seed)
    name = str(demo.directory()) if model == demo.NAME else model
    if not (Path(name) / "config.json").is_file():
        raise BadInput("MODEL", model, "is no model", REMEDY)
    parquet = data.is_dir() or data.suffix == ".parquet"
    found = (
        corpora.from_parquet(data, limit, seed, argument="--data")
        if parquet
        else corpora.from_lines(data, argument="--data")
    )[:limit]
    classes = max(2, 1 + max(example.label for example in found))
    loaded = hf.load(name, classes=classes, seed=seed)
    pad = loaded.model.vocabulary.pad or 0
    rows = [list(loaded.encode(example.text)) for example in found]
    if loaded.model.classes is None:
        stream = torch.tensor([number for row in rows for number in row])
        train, held = _windows(stream, tokens)
        return Sentences(loaded=loaded, train=train, held=held, classes=None, pad=pad)
    ids = torch.tensor([row[:tokens] + [pad] * (tokens - len(row)) for row in rows])
    labels = torch.tensor([example.label for example in found])
    train, held = split(ids, labels, loaded.model.classes)
    return Sentences(loaded=loaded, train=train, held=held, classes=loaded.model.classes, pad=pad)


def _pictures(model: str, data: Path, limit: int | None, seed: int) -> Pictures:
    found = torch_vision.demo() if model == torch_vision.DEMO else vision_models.find(model)
    pictured = images.fit(images.load(data, limit, seed, argument="--data"), found.shape)
    if pictured.labels is None:
        raise BadInput("--data", str(data), "has no labels", "give labelled images, such as CLASS/NAME.png")
    order = torch.randperm(len(pictured.labels), generator=generator(seed, "split"))
    train, held = split(pictured.pixels[order], pictured.labels[order], found.classes)
    return Pictures(model=found, train=train, held=held)


def _windows(stream: torch.Tensor, tokens: int) -> tuple[Part, Part]:
    count = (len(stream) - 1) // tokens
    if count < 20:
        rule = f"tokens are too few for 20 windows of {tokens}"
        raise BadInput("--data", len(stream), rule, "give more text, or lower --tokens")
    inputs = stream[: count * tokens].view(count, tokens)
    return _tenth(inputs, stream[1 : count * tokens + 1].view(count, tokens))


def split(inputs: torch.Tensor, targets: torch.Tensor, classes: int) -> tuple[Part, Part]:
    """Return all but the last tenth, and that.

    Args:
        inputs: (N, ...).
        targets: (N,) classes.
        classes: of the model.

    Raises:
        BadInput: if a label is beyond the classes, or there are fewer than 20 inputs.
    """
    if int(targets.max()) >= classes:
        rule = f"has the label {int(targets.max())}, the model has {classes} classes"
        raise BadInput("--data", "labels", rule, "give the data that the model was made for")
    if len(inputs) < 20:
        raise BadInput("--data", len(inputs), "inputs are too few for training and a held-out tenth", "give 20 or more")
    return _tenth(inputs, targets)


def _tenth(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[Part, Part]:
    cut = len(inputs) - len(inputs) // 10
    return Part(inputs=inputs[:cut], targets=targets[:cut]), Part(inputs=inputs[cut:], targets=targets[cut:])
