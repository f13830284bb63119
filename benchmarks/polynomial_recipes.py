"""Train a polynomial transformer or its soft-max twin: `python -m benchmarks.polynomial_recipes NAME [OPTION ...]`.

NAME is one of `RECIPES`. Options: `twin`; `tiny` for one epoch on 2,000 inputs; `share=0.1` for a tenth of the
epochs; `seconds=300` to leave after the first epoch that ends later. Resumable: every stage keeps its checkpoint
under `build/polynomial`. Log, stages and the result go to `results/models/polynomial-NAME*`. `polynomial_data` says
where the data come from.
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from benchmarks.polynomial_data import (
    CIFAR,
    CONTEXT,
    FASHION,
    TINY,
    TINY_CLASSES,
    TOKENS,
    VOCABULARY,
    WORK,
    cifar10,
    fashion,
    language,
    sst2,
    tiny_imagenet,
    word_table,
)
from benchmarks.rows import RESULTS
from unmask.poly.conversion.checkpoint import restore
from unmask.poly.conversion.data import Data, Part, judge
from unmask.poly.conversion.ranges import Penalty
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan, convert
from unmask.poly.conversion.training import Teacher, train
from unmask.poly.layers.fold import fold
from unmask.poly.layers.transformer import Form, Transformer
from unmask.poly.storage import save_network
from unmask.rng import generator
from unmask.victims import demo, hf

MODELS = RESULTS / "models"
CLOTHES = tuple("T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot".split(", "))
THINGS = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model, its twin, and how both are trained for the same number of epochs.

    Args:
        form: of the polynomial model.
        data: loads training and held-out parts, and the test part.
        plan: of the conversion.
        classes: names.
        taught_by: recipe whose twin teaches, if not its own.
        statistics: mean and deviation of the pixels of each channel, folded into the first map.
    """

    form: Form
    data: Callable[[], tuple[Data, Part]]
    plan: Plan
    classes: tuple[str, ...] = field(default=())
    taught_by: str = field(default="")
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = field(default=None)

    @property
    def twin(self) -> tuple[Form, Schedule]:
        """The soft-max, LayerNorm twin, and one run with as many epochs as all stages before distillation.

        For distillation's epochs the twin goes on with a second run, by the labels alone.
        """
        runs = [run for run in (self.plan.replaced, self.plan.ranged, self.plan.tuned) if run is not None]
        schedule = replace(
            max(runs, key=lambda run: run.learning_rate), epochs=sum(run.epochs for run in runs), frozen=0.0, distil=0.0
        )
        return replace(self.form, attention="softmax", norm="layer"), schedule

    @property
    def taught(self) -> bool:
        """Whether a stage learns from the twin, which has to be trained before."""
        plan = self.plan
        runs = (plan.replaced, plan.ranged, plan.tuned, plan.distilled)
        return any(run is not None and run.distil > 0 for run in runs)

    def shortened(self, share: float) -> "Recipe":
        """Return the recipe with a share of the epochs of each stage, at least one."""
        plan = self.plan
        for name in ("replaced", "ranged", "tuned", "distilled"):
            run = getattr(plan, name)
            if run is not None:
                plan = replace(plan, **{name: replace(run, epochs=max(1, round(share * run.epochs)))})
        return replace(self, plan=plan)


RECIPES = {
    "fashion": Recipe(
        form=Form(),
        data=fashion,
        plan=Plan(
            degrees={"gelu": 2},
            replaced=Schedule(epochs=12, learning_rate=3e-3),
            ranged=Schedule(epochs=6, learning_rate=1e-3),
            tuned=Schedule(epochs=42, learning_rate=2e-3, frozen=0.4),
            distilled=Schedule(epochs=14, learning_rate=1e-3, frozen=1.0, distil=0.7),
            penalty=Penalty(weight=0.02, ceiling=5.0),
            margin=1.5,
        ),
        classes=CLOTHES,
        statistics=FASHION,
    ),
    "fashion-deep": Recipe(
        # Four layers for encrypted inference with bootstraps, in minutes; accuracy is not the point.
        form=Form(layers=4),
        data=fashion,
        plan=Plan(
            degrees={"gelu": 2},
            replaced=Schedule(epochs=1, learning_rate=1e-3, precision="bfloat16"),
            ranged=Schedule(epochs=1, learning_rate=5e-4, precision="bfloat16"),
            tuned=Schedule(epochs=5, learning_rate=1e-3, frozen=0.4, precision="bfloat16"),
            penalty=Penalty(weight=0.05, ceiling=5.0),
            margin=1.5,
        ),
        classes=CLOTHES,
        statistics=FASHION,
    ),
    "cifar10": Recipe(
        form=Form(inputs=192, tokens=64, width=128, layers=4, heads=4, hidden=256),
        data=cifar10,
        plan=Plan(
            # Almost from the start with the polynomials in place: four pointwise layers that were trained with
            # GELU for 13 epochs were not finite with polynomials of degree 4.
            degrees={"gelu": 2},
            replaced=Schedule(epochs=1, learning_rate=1e-3, distil=0.5, precision="bfloat16"),
            tuned=Schedule(epochs=21, learning_rate=2e-3, frozen=0.3, distil=0.5, precision="bfloat16"),
            penalty=Penalty(weight=0.02, ceiling=6.0),
        ),
        classes=THINGS,
        statistics=CIFAR,
    ),
    "cifar10-two": Recipe(
        form=Form(inputs=192, tokens=64, width=128, layers=2, heads=4, hidden=256),
        data=cifar10,
        plan=Plan(
            degrees={"gelu": 2},
            replaced=Schedule(epochs=5, learning_rate=2e-3, distil=0.5, precision="bfloat16"),
            ranged=Schedule(epochs=3, learning_rate=1e-3, distil=0.5, precision="bfloat16"),
            tuned=Schedule(epochs=12, learning_rate=1e-3, frozen=0.4, distil=0.5, precision="bfloat16"),
            penalty=Penalty(weight=0.05, ceiling=5.0),
            margin=1.5,
        ),
        classes=THINGS,
        taught_by="cifar10",
        statistics=CIFAR,
    ),
    "tiny-imagenet": Recipe(
        form=Form(inputs=768, tokens=64, width=96, layers=2, heads=4, hidden=192, classes=TINY_CLASSES),
        data=tiny_imagenet,
        plan=Plan(
            degrees={"gelu": 2},
            replaced=Schedule(epochs=2, batch=50, learning_rate=1e-3, distil=0.5, precision="bfloat16"),
            tuned=Schedule(epochs=38, batch=50, learning_rate=1e-3, frozen=0.3, distil=0.5, precision="bfloat16"),
            penalty=Penalty(weight=0.02, ceiling=6.0),
        ),
        classes=tuple(f"class {number}" for number in range(TINY_CLASSES)),
        statistics=TINY,
    ),
    "sst2": Recipe(
        form=Form(kind="text", inputs=384, tokens=TOKENS, width=128, heads=4, hidden=256, classes=2),
        data=sst2,
        plan=Plan(
            degrees={"gelu": 2},
            replaced=Schedule(epochs=5, batch=64, learning_rate=1e-3),
            ranged=Schedule(epochs=3, batch=64, learning_rate=5e-4),
            tuned=Schedule(epochs=8, batch=64, learning_rate=7e-4, frozen=0.4),
            penalty=Penalty(weight=0.02, ceiling=5.0),
        ),
        classes=("negative", "positive"),
    ),
    "lm": Recipe(
        form=Form(
            kind="decoder",
            inputs=VOCABULARY,
            tokens=CONTEXT,
            width=128,
            layers=6,
            heads=4,
            hidden=256,
            classes=VOCABULARY,
            norm="layer",
            pooling="all",
        ),
        data=language,
        plan=Plan(
            degrees={"gelu": 4, "inverse-sqrt": 15},
            replaced=Schedule(epochs=6, batch=32, learning_rate=2e-3, distil=0.5, precision="bfloat16"),
            ranged=Schedule(epochs=2, batch=32, learning_rate=5e-4, distil=0.5, precision="bfloat16"),
            tuned=Schedule(epochs=4, batch=32, learning_rate=7e-4, distil=0.5, precision="bfloat16"),
            penalty=Penalty(weight=0.02, ceiling=6.0, variance_weight=0.05),
        ),
    ),
}
RECIPES["lm-12"] = replace(RECIPES["lm"], form=replace(RECIPES["lm"].form, layers=12))


def main(name: str, options: list[str]) -> None:
    """Train one model of a recipe, judge it on the test part, and write log, stages, result and network."""
    recipe, twin, tiny = RECIPES[name], "twin" in options, "tiny" in options
    share = option(options, "share", 1.0)
    recipe = recipe if share == 1 else recipe.shortened(share)
    data, test = recipe.data()
    if tiny:
        recipe = recipe.shortened(0.0)
        data = replace(data, train=Part(inputs=data.train.inputs[:2000], targets=data.train.targets[:2000]))
    folder = marked(name + ("-twin" if twin else "") + ("-tiny" if tiny else ""), share)
    say = leaving(option(options, "seconds", math.inf))
    began = time.monotonic()
    if twin:
        form, schedule = recipe.twin
        model = Transformer(form, generator(0, "twin"))
        folder.mkdir(parents=True, exist_ok=True)
        train(model, data, schedule, folder, "twin", say=say)
        if recipe.plan.distilled is not None:
            more = replace(recipe.plan.distilled, distil=0.0)
            train(model, data, more, folder, "twin-more", say=say)
    else:
        model = Transformer(recipe.form, generator(0, "polynomial"))
        teacher = _teacher(name, recipe, data, share) if recipe.taught else None
        convert(model, data, recipe.plan, folder, teacher=teacher, say=say)
    metric = judge(model.eval(), data, test)
    seconds = round(time.monotonic() - began, 1)
    epochs = recipe.twin[1].epochs + (0 if recipe.plan.distilled is None else recipe.plan.distilled.epochs)
    result = {"model": folder.name, "epochs": epochs, "test": metric, "n": len(test.inputs), "seconds": seconds}
    say(json.dumps(result))
    if not twin and recipe.form.norm == "batch":
        export(name, recipe, model, {"test accuracy": metric["accuracy"], "test inputs": len(test.inputs)})
    if tiny:
        return
    MODELS.mkdir(parents=True, exist_ok=True)
    (MODELS / f"polynomial-{folder.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shutil.copy(folder / "log.jsonl", MODELS / f"polynomial-{folder.name}.jsonl")
    if not twin:
        shutil.copy(folder / "stages.json", MODELS / f"polynomial-{folder.name}-stages.json")


def option(options: list[str], name: str, otherwise: float) -> float:
    """Return the number of an option `NAME=NUMBER` of the command line.

    Args:
        options: all of them.
        name: of the one.
        otherwise: if it is not there.
    """
    return next((float(each.removeprefix(f"{name}=")) for each in options if each.startswith(f"{name}=")), otherwise)


def marked(name: str, share: float) -> Path:
    """Return the folder of a model that was trained for a share of its epochs.

    Args:
        name: of the model.
        share: 1 for all.
    """
    return WORK / (name + (f"-{share:g}" if share != 1 else ""))


def leaving(seconds: float) -> Callable[[str], None]:
    """Return a printer of progress that ends the program with code 75 at the first epoch that starts too late.

    Args:
        seconds: from now.
    """
    began = time.monotonic()

    def say(line: str) -> None:
        print(line, flush=True)
        if " 0/" in line and time.monotonic() - began > seconds:
            sys.exit(75)

    return say


def _teacher(name: str, recipe: Recipe, data: Data, share: float) -> Teacher:
    # As it was after the first run: what comes later takes no more from it. One of the same share, if there is one.
    name = recipe.taught_by or name
    twin = Transformer(RECIPES[name].twin[0], generator(0, "twin"))
    files = [marked(f"{name}-twin", each) / "twin.safetensors" for each in (share, 1.0)]
    restore(next((file for file in files if file.exists()), files[0]), twin)
    twin.eval()
    return lambda x: twin(data.prepare(x))


def export(name: str, recipe: Recipe, model: Transformer, meta: dict[str, object]) -> None:
    """Fold and write the plain network to `build/polynomial/NAME/network`; of text, with the client's table."""
    folder = WORK / name / "network"
    shift = scale = None
    if recipe.statistics is not None:
        area = recipe.form.inputs // len(recipe.statistics[0])
        shift, scale = (torch.tensor(values).double().repeat_interleave(area) for values in recipe.statistics)
        scale = 1.0 / scale
    if recipe.form.kind == "image":
        meta = meta | {"input_range": [0.0, 1.0]}  # pixels: a client may refuse what was never trained on
    network = fold(model, classes=recipe.classes, meta=meta, shift=shift, scale=scale)
    if recipe.form.kind == "text":
        # The client looks up what the first map makes of a word, so that no level is spent on it.
        assert network.embedding is not None and isinstance(model.embedding, nn.Linear)
        table = network.embedding(word_table(hf.load(str(demo.directory())).model.module).double().numpy())
        network = replace(network, embedding=None)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"table": table.astype(np.float16)}, folder / "client.safetensors")
    save_network(network, folder, dtype="float32")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2:])
