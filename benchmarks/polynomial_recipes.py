"""Train a polynomial transformer and its soft-max twin: `python -m benchmarks.polynomial_recipes NAME [twin]`.

Resumable: every stage keeps its checkpoint under `build/polynomial/NAME`. Log and stages go to
`results/models/`. Fashion-MNIST comes from the Debian package dataset-fashion-mnist (see `train_vit`),
either installed or unpacked; name its folder in FASHION_MNIST.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import DATA
from benchmarks.train_vit import augmented
from unmask.poly.conversion.checkpoint import restore
from unmask.poly.conversion.data import Data, Part, judge
from unmask.poly.conversion.ranges import Penalty
from unmask.poly.conversion.stages import Plan, convert
from unmask.poly.conversion.training import Schedule, Teacher, train
from unmask.poly.layers.fold import fold
from unmask.poly.layers.transformer import Form, Transformer
from unmask.poly.storage import save_network
from unmask.rng import generator
from unmask.victims import images
from unmask.victims.vit import patches

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "polynomial"
RESULTS = Path(__file__).parent / "results" / "models"
FASHION_FOLDERS = (
    os.environ.get("FASHION_MNIST", ""),
    str(DATA / "fashion-mnist"),
    "/usr/share/datasets/fashion-mnist",
    "/tmp/fm/usr/share/datasets/fashion-mnist",
)
FASHION = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot".split(", ")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model, its twin, and how both are trained for the same number of epochs.

    Args:
        form: of the polynomial model.
        data: loads training and held-out parts, and the test part.
        plan: of the conversion.
        classes: names.
        patch: side of a patch.
        statistics: mean and deviation of the pixels of each channel.
    """

    form: Form
    data: Callable[[], tuple[Data, Part]]
    plan: Plan
    classes: tuple[str, ...]
    patch: int
    statistics: tuple[tuple[float, ...], tuple[float, ...]]

    @property
    def twin(self) -> tuple[Form, Schedule]:
        """The soft-max, LayerNorm twin, and one run with as many epochs as all stages together."""
        runs = [run for run in (self.plan.replaced, self.plan.ranged, self.plan.tuned) if run is not None]
        schedule = replace(runs[0], epochs=sum(run.epochs for run in runs), distil=0.0, frozen=0.0)
        return replace(self.form, attention="softmax", norm="layer"), schedule


def fashion_folder() -> Path:
    """Return the folder of the four idx files."""
    for name in FASHION_FOLDERS:
        if name and (Path(name) / "train-images-idx3-ubyte.gz").is_file():
            return Path(name)
    sys.exit("Fashion-MNIST is not here: apt-get download dataset-fashion-mnist, dpkg -x it, set FASHION_MNIST")


def cutter(patch: int, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    """Return the map from images in [0, 1] to normalised patches."""
    shift, scale = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, deviation))
    return lambda pixels: patches((pixels - shift) / scale, patch)


def fashion() -> tuple[Data, Part]:
    """Return 55,000 training, 5,000 held-out and the 10,000 test images."""
    folder = fashion_folder()
    whole, test = (images.load(folder / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    assert whole.labels is not None and test.labels is not None
    parts = [
        Part(inputs=whole.pixels[index], targets=whole.labels[index]) for index in (slice(5000, None), slice(5000))
    ]
    data = Data(
        train=parts[0],
        held=parts[1],
        augment=partial(augmented, reach=1),
        prepare=cutter(7, *RECIPES["fashion"].statistics),
    )
    return data, Part(inputs=test.pixels, targets=test.labels)


RECIPES = {
    "fashion": Recipe(
        form=Form(),
        data=fashion,
        plan=Plan(
            degrees={"gelu": 2},
            replaced=Schedule(epochs=12, learning_rate=3e-3),
            ranged=Schedule(epochs=6, learning_rate=1e-3),
            tuned=Schedule(epochs=42, learning_rate=2e-3, frozen=0.4),
            penalty=Penalty(weight=0.02, ceiling=5.0),
        ),
        classes=tuple(FASHION),
        patch=7,
        statistics=((0.2860,), (0.3530,)),
    ),
}


def main(name: str, *, twin: bool, tiny: bool) -> None:
    """Train one model of a recipe, judge it on the test part, and write logs and network."""
    recipe = RECIPES[name]
    data, test = recipe.data()
    folder = WORK / (name + ("-twin" if twin else "") + ("-tiny" if tiny else ""))
    plan = recipe.plan
    if tiny:
        data = replace(data, train=Part(inputs=data.train.inputs[:2000], targets=data.train.targets[:2000]))
        names = [name for name in ("replaced", "ranged", "tuned") if getattr(plan, name) is not None]
        plan = replace(plan, **{name: replace(getattr(plan, name), epochs=1) for name in names})
    say = partial(print, flush=True)
    began = time.monotonic()
    if twin:
        form, schedule = recipe.twin
        model = Transformer(form, generator(0, "twin"))
        train(model, data, schedule, folder, "twin", say=say)
    else:
        model = Transformer(recipe.form, generator(0, "polynomial"))
        teacher = _twin(recipe, name, data.prepare) if plan.tuned and plan.tuned.distil else None
        convert(model, data, plan, folder, teacher=teacher, say=say)
    model.eval()
    metric = judge(model, data, test)
    result = {
        "model": folder.name,
        "test": metric,
        "n": len(test.inputs),
        "seconds": round(time.monotonic() - began, 1),
    }
    say(json.dumps(result))
    if not tiny:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"polynomial-{folder.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        shutil.copy(folder / "log.jsonl", RESULTS / f"polynomial-{folder.name}.jsonl")
    if not twin:
        if not tiny:
            shutil.copy(folder / "stages.json", RESULTS / f"polynomial-{folder.name}-stages.json")
        export(recipe, model, metric, len(test.inputs), folder / "network")


def export(recipe: Recipe, model: Transformer, metric: dict[str, float], count: int, folder: Path) -> None:
    """Fold and write the plain network."""
    mean, deviation = recipe.statistics
    area = recipe.patch**2
    shift = torch.tensor(mean).repeat_interleave(area)
    scale = 1.0 / torch.tensor(deviation).repeat_interleave(area)
    meta: dict[str, object] = {"test accuracy": metric["accuracy"], "test images": count, "patch": recipe.patch}
    save_network(fold(model, classes=recipe.classes, meta=meta, shift=shift, scale=scale), folder, dtype="float32")


def _twin(recipe: Recipe, name: str, prepare: Callable[[Tensor], Tensor]) -> Teacher:
    teacher = Transformer(recipe.twin[0], generator(0, "twin"))
    restore(WORK / f"{name}-twin" / "twin.safetensors", teacher)
    teacher.eval()
    return lambda x: teacher(prepare(x))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], twin="twin" in sys.argv[2:], tiny="tiny" in sys.argv[2:])
