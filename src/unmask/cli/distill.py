"""`unmask distill`: a few images that train a network as many do."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from unmask.cli import console, options
from unmask.defence import EMPIRICAL
from unmask.distill import export
from unmask.distill.inducing import Distillation, Distilled, Method, distill
from unmask.distill.kernel_machine import fit
from unmask.distill.ntk import AnalyticNTK
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.victims import images
from unmask.victims.mlp import targets
from unmask.vision import Images


def command(
    out: Annotated[Path, typer.Option(help="Folder of the distilled set and its sheet of pictures.")],
    data: Annotated[Path | None, typer.Option(help="Labelled images; default: the sample of Fashion-MNIST.")] = None,
    test: Annotated[Path | None, typer.Option(help="Public images on which accuracy is measured.")] = None,
    count: Annotated[int, typer.Option(help="Images of the distilled set.")] = 20,
    method: Annotated[Method, typer.Option(help="kip keeps predictions, rkip keeps weights.")] = Method.KIP,
    learn_labels: Annotated[bool, typer.Option("--learn-labels", help="Targets that suit the images best.")] = False,
    parity: Annotated[bool, typer.Option("--parity", help="Odd against even classes in place of all.")] = False,
    hidden: Annotated[int, typer.Option(help="Hidden layers of the network that the set is for.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of the search.")] = 1000,
    limit: Annotated[int | None, typer.Option(help="Number of images to use, from the first.")] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Distil labelled images to a few that train a wide network nearly as well, and show them."""
    private = images.sample() if data is None else images.load(data, limit, seed, argument="--data")
    if data is None and limit is not None:
        kept = options.at_least_one("--limit", limit)
        private = Images(pixels=private.pixels[:kept], labels=None if private.labels is None else private.labels[:kept])
    classes = _classes(private, parity, "--data")
    settings = Distillation(count=count, method=method, learn_labels=learn_labels, steps=steps)
    kernel = AnalyticNTK(hidden=hidden)
    inputs, wanted = private.pixels.flatten(1).double(), _targets(private, classes, parity)
    few = Distilled(inputs=inputs[:0], wanted=wanted[:0], loss=0.0, step=0)
    with console.steps("distilling") as bar:
        for few in distill(kernel, inputs, wanted, settings, generator(seed, "distill")):
            bar(few.step, steps)
    facts: dict[str, object] = {
        **asdict(settings),
        "hidden": hidden,
        "images": private.size,
        "loss": few.loss,
        "guarantee": EMPIRICAL,
    }
    if test is not None:
        public = images.load(test, None, seed, argument="--test")
        _classes(public, parity, "--test")
        for name, pixels, labels in (("all", inputs, wanted), ("distilled", few.inputs, few.wanted)):
            answers = fit(kernel, pixels, labels, settings.ridge)(public.pixels.flatten(1).double())
            right = _targets(public, classes, parity)
            same = (answers > 0) == (right > 0) if classes == 2 else answers.argmax(1) == right.argmax(1)
            facts[f"accuracy_{name}"] = round(float(same.double().mean()), 4)
    stored, pictures = export.write(few, _shape(private), out, facts)
    if json:
        console.emit({"data": str(stored), "sheet": str(pictures), **facts})
        return
    for name in ("all", "distilled"):
        if f"accuracy_{name}" in facts:
            print(f"Accuracy at infinite width, {name}: {facts[f'accuracy_{name}']}")
    print(f"Data: {stored}\nPictures: {pictures}")
    print("Privacy: none: empirical only. Distilled images carry what the task needs; look at them, and audit.")


def _classes(found: Images, parity: bool, argument: str) -> int:
    if found.labels is None:
        raise BadInput(
            argument, "images", "have no labels", "name a folder CLASS/NAME.png, parquet, or idx with labels"
        )
    return 2 if parity else max(2, int(found.labels.max()) + 1)


def _targets(found: Images, classes: int, parity: bool) -> Tensor:
    assert found.labels is not None
    return targets(found.labels % 2 if parity else found.labels, classes)


def _shape(found: Images) -> tuple[int, int, int]:
    return found.pixels.shape[1], found.pixels.shape[2], found.pixels.shape[3]
