"""Soft-max twins made polynomial as they are: `python -m benchmarks.polynomial_converted NAME [share=S] [seconds=S]`.

NAME is one of `CASES`; its twin was trained by `polynomial_recipes NAME twin` with the same share. Nothing is trained
after that, so that both have seen the same. Powers take the place of the soft-maxes, polynomials that of the
reciprocals, inverse square roots and GELUs. Stages lie under `build/polynomial/NAME-converted`; the result goes to
`results/models`, and `python -m benchmarks.polynomial converted` makes its rows.
"""

import json
import math
import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.polynomial_recipes import MODELS, RECIPES, leaving, marked, option
from benchmarks.rows import Row
from unmask.poly.conversion.checkpoint import restore
from unmask.poly.conversion.data import Data, Part, judge, task_loss
from unmask.poly.conversion.guard import guarded
from unmask.poly.conversion.intercept import Converted
from unmask.poly.conversion.stages import REPORT, Plan, convert
from unmask.poly.layers.transformer import Transformer
from unmask.rng import generator

EXAMPLES, BATCH = 64, 250
"""Training inputs that set the constants of the powers; inputs of one pass over the test part."""

TRAINING, COMMAND = "python -m benchmarks.polynomial_recipes", "python -m benchmarks.polynomial_converted"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one twin becomes.

    Args:
        setting: of its rows.
        budget: levels.
        power: in place of each soft-max.
        client: module path of what the client computes in clear.
        gap: how far below its twin the accuracy may be, or above it the perplexity by ratio.
        margin: factor from what training and held-out inputs reach to an interval. Above the 1.4 of pretrained
            encoders: a high degree is worth nothing a little beyond its interval.
        told: what has to be said of how the test part was used.
        looked: training inputs, and as many held-out ones at most, that ranges are measured on.
        tested: test inputs, the first ones.
    """

    setting: str
    budget: int
    power: int = field(default=16)
    client: str | None = field(default=None)
    gap: float = field(default=0.01)
    margin: float = field(default=2.0)
    told: str = field(default="")
    looked: int = field(default=50_000)
    tested: int = field(default=50_000)


CASES = {
    "cifar10": Case(setting="vision transformer of 4 layers on CIFAR-10", budget=165),
    "tiny-imagenet": Case(
        setting="vision transformer of 2 layers on 20 classes of Tiny-ImageNet",
        budget=90,
        told="not a fresh part: a margin of 1.4 with degrees to 511 had left 1 and 2 of the same 500 outside",
    ),
    "fashion": Case(setting="vision transformer of 2 layers on Fashion-MNIST", budget=90, gap=0.005),
    "lm": Case(
        setting="decoder of 6 layers, Brown to WikiText",
        budget=260,
        power=64,
        client="embedding",
        gap=1.02,
        margin=3.0,
        looked=300,
        tested=1000,
    ),
    "lm-12": Case(
        setting="decoder of 12 layers, Brown to WikiText",
        budget=500,
        power=64,
        client="embedding",
        gap=1.05,
        margin=3.0,
        looked=300,
        tested=1000,
    ),
}


def main(name: str, options: list[str]) -> None:
    """Convert one twin, judge both on the test part, and write stages and result.

    Args:
        name: one of `CASES`.
        options: of the command line.
    """
    case, share = CASES[name], option(options, "share", 1.0)
    recipe = RECIPES[name].shortened(share) if share != 1 else RECIPES[name]
    began = time.process_time()
    data, test = recipe.data()
    data = replace(data, train=_first(data.train, case.looked), held=_first(data.held, case.looked))
    test = _first(test, case.tested)
    twin = Transformer(recipe.twin[0], generator(0, "twin"))
    folder = marked(f"{name}-converted", share)
    restore(_trained(marked(f"{name}-twin", share)), twin)
    model = polynomial(case, twin, data)
    plan = Plan(budget=case.budget, margin=case.margin, settle=1)
    stages = convert(model, data, plan, folder, say=leaving(option(options, "seconds", math.inf)))
    result = {
        "model": folder.name,
        "epochs": sum(1 for _ in (marked(f"{name}-twin", share) / "log.jsonl").open(encoding="utf-8")),
        "levels": stages[-1].levels,
        "degrees": dict(stages[-1].degrees),
        "twin": judge(twin.eval(), data, test),
        **judged(model, data, test),
        "common": _most(test),
        "n": len(test.inputs),
        "seconds": round(time.process_time() - began, 1),
    }
    print(json.dumps(result), flush=True)
    (MODELS / f"polynomial-{folder.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shutil.copy(folder / REPORT, MODELS / f"polynomial-{folder.name}-stages.json")


def polynomial(case: Case, twin: nn.Module, data: Data) -> Converted:
    """Return a trained twin with a site at each of its functions.

    Args:
        case: the power, and what the client computes.
        twin: trained.
        data: its data.
    """
    example = data.prepare(data.train.inputs[:EXAMPLES])
    return Converted(twin.eval(), nn.Module.__call__, example, client=case.client, power=case.power, centred=True)


def judged(model: Converted, data: Data, part: Part) -> dict[str, Any]:
    """Return accuracy and loss, the share of inputs that stay in every interval, and how far the others go.

    Args:
        model: with polynomials in place.
        data: says how inputs are prepared.
        part: what to judge it on.
    """
    right, loss, away, sites = 0, 0.0, [], dict[str, float]()
    for x, y in part.batches(BATCH):
        found = guarded(model, data.prepare(x))
        right += int((found.logits.argmax(-1) == y).sum())
        loss += float(task_loss(found.logits, y)) * y.numel()
        away.append(found.farthest)
        sites |= {name: max(sites.get(name, 0.0), value) for name, value in found.by_site.items()}
    farthest, count = torch.cat(away), part.targets.numel()
    return {
        "test": {"accuracy": right / count, "loss": loss / count},
        "inside": float((farthest <= 1.0).float().mean()),
        "median": float(farthest.median()),
        "farthest": float(farthest.max()),
        "site": max(sites, key=sites.__getitem__),
    }


def rows() -> list[Row]:
    """Return the rows of every twin that was converted."""
    found = []
    for name in CASES:
        files = [
            file for file in sorted(MODELS.glob(f"polynomial-{name}-converted*.json")) if "stages" not in file.name
        ]
        for file in files[:1]:
            found += _rows(name, json.loads(file.read_text(encoding="utf-8")))
    return found


def _rows(name: str, told: dict[str, Any]) -> list[Row]:
    case, language = CASES[name], RECIPES[name].form.kind == "decoder"
    share = told["model"].removeprefix(f"{name}-converted").removeprefix("-")
    after = f" share={share}" if share else ""
    setting = f"{case.setting}, {told['epochs']} epochs, made polynomial in {told['levels']} levels as it is"
    own, other = told["test"], told["twin"]
    gap = math.exp(own["loss"] - other["loss"]) if language else other["accuracy"] - own["accuracy"]
    values = (
        f"{math.exp(other['loss']):.4g} twin, {math.exp(own['loss']):.4g} polynomial"
        if language
        else f"{other['accuracy']:.4f} twin; always one class {told['common']:.4f}"
    )
    common: dict[str, Any] = {
        "unit": "",
        "n": told["n"],
        "seconds": told["seconds"],
        "command": f"{TRAINING} {name} twin{after}; {COMMAND} {name}{after}; python -m benchmarks.polynomial converted",
    }
    inside = told["inside"]
    outside = round((1 - inside) * told["n"])
    return [
        Row(
            setting=f"{setting}: " + ("perplexity over the twin's" if language else "twin less polynomial"),
            bar=f"<= {case.gap:g}",
            measured=round(gap, 6),
            holds=gap <= case.gap,
            control=values,
            reason="" if gap <= case.gap else "powers and polynomials alone, nothing trained after",
            **common,
        ),
        Row(
            setting=f"{setting}: test inputs that stay in every interval",
            bar="1",
            measured=round(inside, 6),
            holds=inside == 1.0,
            control=f"farthest input in half-intervals: median {told['median']:.4g}, most {told['farthest']:.4g}, at "
            + told["site"].removeprefix("module."),
            reason=case.told if inside == 1.0 else f"{outside} go beyond what training and held-out inputs reach",
            **common,
        ),
    ]


def _first(part: Part, count: int) -> Part:
    return Part(inputs=part.inputs[:count], targets=part.targets[:count])


def _most(part: Part) -> float:
    counts: Tensor = part.targets.flatten().bincount()
    return float(counts.max()) / part.targets.numel()


def _trained(folder: Path) -> Path:
    # Where labels alone went on after the first run, that is the whole twin.
    more = folder / "twin-more.safetensors"
    return more if more.exists() else folder / "twin.safetensors"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2:])
