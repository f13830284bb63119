"""What `unmask poly convert` does."""

from pathlib import Path

import torch

from unmask.cli.console import emit, note
from unmask.errors import BadInput
from unmask.poly.conversion.data import Data, Part
from unmask.poly.conversion.depth import degrees_of, depth
from unmask.poly.conversion.ranges import Penalty
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan, Stage, convert
from unmask.poly.layers.fold import fold
from unmask.poly.storage import save_network
from unmask.rng import generator
from unmask.victims import corpora, demo, hf, images, torch_vision, vision_models
from unmask.victims.polynomial import Original, from_bert, from_vit
from unmask.victims.vit import Vit


def run(
    *,
    model: str,
    data: Path,
    out: Path,
    depth_budget: int | None,
    epochs: str,
    batch: int,
    learning_rate: float,
    ceiling: float,
    distil: float,
    tokens: int,
    limit: int | None,
    seed: int,
    json: bool,
) -> None:
    """Convert a model and print what each stage left; the arguments are the command's options.

    Args:
        model: `vit-demo`, a `.safetensors` file, or a directory.
        data: labelled images or sentences.
        out: folder of everything that is written.
        depth_budget: levels, or None for degree 2.
        epochs: three numbers.
        batch: inputs per step.
        learning_rate: its peak.
        ceiling: of the range penalty.
        distil: share of the loss.
        tokens: of a sentence.
        limit: how many inputs, or None.
        seed: of everything drawn.
        json: whether to print JSON.

    Raises:
        BadInput: if an option, the model or the data cannot be used.
    """
    runs = [_schedule(count, batch, learning_rate, distil, seed) for count in _epochs(epochs)]
    plan = Plan(
        degrees={"gelu": 2, "relu": 2, "silu": 2},
        replaced=runs[0],
        ranged=runs[1],
        tuned=runs[2],
        penalty=Penalty(weight=0.02, ceiling=ceiling),
        budget=depth_budget,
    )
    original, parts = (
        _pictures(model, data, limit, seed)
        if vision_models.named(model)
        else _sentences(model, data, limit, seed, tokens)
    )
    given = Data(train=parts[0], held=parts[1], prepare=original.prepare)
    stages = convert(original.model, given, plan, out, teacher=original.teacher, say=note)
    degrees = degrees_of(original.model)
    levels = depth(original.model, degrees)
    meta: dict[str, object] = {"held-out accuracy": stages[-1].metric["accuracy"], "depth": levels, "source": model}
    if vision_models.named(model):
        meta["input_range"] = [0.0, 1.0]  # pixels: a client may refuse what was never trained on
    save_network(fold(original.model, meta=meta), out / "network")
    if json:
        emit(
            {
                "stages": [vars(stage) for stage in stages],
                "degrees": degrees,
                "depth": levels,
                "network": out / "network",
            }
        )
        return
    print("stage         accuracy  largest input  seconds")
    for stage in stages:
        print(_line(stage))
    print(f"depth: {levels} levels; degrees: {', '.join(f'{path} {degree}' for path, degree in degrees.items())}")
    print(f"network: {out / 'network'}; next: unmask he plan {out / 'network'}")


def _line(stage: Stage) -> str:
    largest = max((max(-low, high) for low, high in stage.ranges.values()), default=0.0)
    return f"{stage.name:<12}  {stage.metric['accuracy']:8.4f}  {largest:13.3g}  {stage.seconds:7.0f}"


def _epochs(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise BadInput("--epochs", text, "is not three numbers", "write such as 3,2,5; 0 leaves a stage out")
    return [int(part) for part in parts]


def _schedule(count: int, batch: int, learning_rate: float, distil: float, seed: int) -> Schedule | None:
    if not count:
        return None
    return Schedule(epochs=count, batch=batch, learning_rate=learning_rate, distil=distil, frozen=0.3, seed=seed)


def _pictures(model: str, data: Path, limit: int | None, seed: int) -> tuple[Original, tuple[Part, Part]]:
    module = (torch_vision.demo() if model == torch_vision.DEMO else vision_models.find(model)).module
    if not isinstance(module, Vit):
        rule = f"is a {type(module).__name__}, whose layers are not converted"
        raise BadInput("MODEL", model, rule, "give vit-demo, a .safetensors file of this project, or a BERT directory")
    shape = module.shape
    found = images.fit(images.load(data, limit, seed, argument="--data"), (shape.channels, shape.side, shape.side))
    if found.labels is None:
        raise BadInput("--data", str(data), "has no labels", "give labelled images, such as CLASS/NAME.png")
    return from_vit(module, generator(seed, "convert")), _split(found.pixels, found.labels, shape.classes)


def _sentences(model: str, data: Path, limit: int | None, seed: int, tokens: int) -> tuple[Original, tuple[Part, Part]]:
    name = str(demo.directory()) if model == demo.NAME else model
    if not (Path(name) / "config.json").is_file():
        remedy = "give vit-demo, a .safetensors file of this project, or a BERT directory"
        raise BadInput("MODEL", model, "is no model", remedy)
    found = (
        corpora.from_parquet(data, limit, seed, argument="--data")
        if _parquet(data)
        else corpora.from_lines(data, argument="--data")
    )
    classes = 1 + max(example.label for example in found)
    loaded = hf.load(name, task="classification", classes=max(classes, 2), seed=seed)
    pad = loaded.model.vocabulary.pad or 0
    rows = [list(loaded.encode(example.text))[:tokens] for example in found[:limit]]
    ids = torch.tensor([row + [pad] * (tokens - len(row)) for row in rows])
    labels = torch.tensor([example.label for example in found[:limit]])
    count = loaded.model.classes or max(classes, 2)
    draw = generator(seed, "convert")
    original = from_bert(loaded.model.module, tokens=tokens, classes=count, pad=pad, draw=draw)
    return original, _split(ids, labels, count)


def _parquet(data: Path) -> bool:
    return data.is_dir() or data.suffix == ".parquet"


def _split(inputs: torch.Tensor, targets: torch.Tensor, classes: int) -> tuple[Part, Part]:
    if int(targets.max()) >= classes:
        rule = f"has the label {int(targets.max())}, the model has {classes} classes"
        raise BadInput("--data", "labels", rule, "give the data that the model was made for")
    if len(inputs) < 20:
        raise BadInput("--data", len(inputs), "inputs are too few for training and a held-out tenth", "give 20 or more")
    cut = len(inputs) - len(inputs) // 10
    return Part(inputs=inputs[:cut], targets=targets[:cut]), Part(inputs=inputs[cut:], targets=targets[cut:])
