"""What `unmask poly study` does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from unmask.cli.console import emit, note
from unmask.errors import BadInput
from unmask.poly.conversion.data import Data, Part
from unmask.poly.conversion.ranges import Penalty
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan
from unmask.poly.layers.transformer import Form
from unmask.poly.study.grid import grid
from unmask.poly.study.outcome import Summary, summaries, table
from unmask.poly.study.page import page
from unmask.poly.study.run import Study, split, study
from unmask.poly.study.task import KEYS, VALUES, recall
from unmask.storage import replace
from unmask.victims import images
from unmask.victims.vit import patches

SIDE, PATCH = 28, 7
RECALL = "Recall: the first token asks for a key, the class is the value beside it."


def run(*, out: Path, data: Path | None, factors: str, seeds: int, epochs: str, count: int, json: bool) -> None:
    """Run a study and print its table; the arguments are the command's options.

    Args:
        out: folder of everything that is written.
        data: labelled images, or None for the recall task.
        factors: names with commas between them.
        seeds: runs of each variant.
        epochs: three numbers.
        count: inputs in all.
        json: whether to print JSON.

    Raises:
        BadInput: if an option or the data cannot be used.
    """
    if count < 100:
        raise BadInput("--count", count, "is too few to train on", "give at least 100")
    chosen = tuple(name.strip() for name in factors.split(",") if name.strip())
    form, whole, prepare, task = _pictures(data, count) if data is not None else _recall(count)
    parts = split(whole)
    given = Study(
        variants=grid(form, _plan(epochs), chosen),
        seeds=seeds,
        data=Data(train=parts[0], held=parts[1], prepare=prepare),
        test=parts[2],
        task=task,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small that a second thread only waits
    try:
        outcomes = study(given, out, say=note)
    finally:
        torch.set_num_threads(threads)
    found = summaries(outcomes)
    written = replace(out / "study.html", page(outcomes, task=task, baseline=given.baseline))
    if json:
        emit({"task": task, "baseline": given.baseline, "variants": _facts(found), "page": str(written)})
        return
    print(table(found))
    print(f"most common class alone: {100 * given.baseline:.1f}; page: {written}")


def _facts(found: Sequence[Summary]) -> list[dict[str, object]]:
    # NaN is no JSON.
    return [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(each).items()}
        for each in found
    ]


def _plan(epochs: str) -> Plan:
    try:
        first, second, third = (int(number) for number in epochs.split(","))
    except ValueError as error:
        raise BadInput("--epochs", epochs, "is not three whole numbers", "write such as 8,3,9") from error
    if min(first, second, third) < 1:
        raise BadInput("--epochs", epochs, "has a number below 1", "write such as 8,3,9")
    return Plan(
        degrees={"gelu": 2},
        replaced=Schedule(epochs=first, batch=32, learning_rate=3e-3),
        ranged=Schedule(epochs=second, batch=32, learning_rate=1e-3),
        tuned=Schedule(epochs=third, batch=32, learning_rate=2e-3, frozen=0.4),
        penalty=Penalty(weight=0.02, ceiling=5.0, variance_weight=0.05),
    )


def _recall(count: int) -> tuple[Form, Part, Callable[[Tensor], Tensor], str]:
    whole = recall(count, 0)
    form = Form(
        inputs=KEYS + VALUES,
        tokens=KEYS + 1,
        width=32,
        hidden=64,
        classes=VALUES,
        pooling="first",
    )
    return form, whole, lambda x: x, RECALL


def _pictures(data: Path, count: int) -> tuple[Form, Part, Callable[[Tensor], Tensor], str]:
    found = images.load(data, count, argument="--data")
    if found.labels is None:
        raise BadInput("--data", str(data), "has no labels", "give parquet with a label column, or CLASS/NAME.png")
    grey = images.fit(found, (1, SIDE, SIDE), argument="--data")
    classes = int(found.labels.max()) + 1
    form = Form(inputs=PATCH * PATCH, tokens=(SIDE // PATCH) ** 2, width=32, hidden=64, classes=classes)
    whole = Part(inputs=grey.pixels, targets=found.labels)
    return form, whole, lambda x: patches(x, PATCH), f"Images of {data.name}, grey, {SIDE}x{SIDE}, {classes} classes."
