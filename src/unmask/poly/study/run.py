"""Every variant with every seed, resumable run by run."""

import json
import math
import re
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from unmask.errors import BadInput
from unmask.poly.conversion.data import Data, Part, judge
from unmask.poly.conversion.ranges import POSITIVE, sites
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan, Stage, convert, finished_stages
from unmask.poly.conversion.training import RangeExploded, Say, train
from unmask.poly.layers.transformer import Transformer
from unmask.poly.study.grid import Variant
from unmask.poly.study.outcome import TWIN, Outcome, decode, encode
from unmask.rng import generator
from unmask.storage import replace as write

SETTINGS = "settings.json"
RESULTS = "outcomes.jsonl"


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """What is run on what.

    Args:
        variants: the rows.
        seeds: how many runs of each.
        data: training and held-out parts; all stages are measured on the latter.
        test: on which the finished models are judged, once.
        task: its name, as the settings keep it.

    Raises:
        BadInput: if there is no variant or no seed.
    """

    variants: tuple[Variant, ...]
    seeds: int = field(default=3)
    data: Data
    test: Part
    task: str

    def __post_init__(self) -> None:
        if not self.variants:
            raise BadInput("variants", (), "are none", "give at least one")
        if self.seeds < 1:
            raise BadInput("seeds", self.seeds, "is not positive", "give at least 1")

    @property
    def baseline(self) -> float:
        """Return the share of the most common class of the test part: what needs no model."""
        return float(self.test.targets.bincount().max() / len(self.test.targets))


def study(given: Study, folder: Path, *, say: Say = lambda line: None) -> tuple[Outcome, ...]:
    """Run every variant with every seed and return what came of them; a second call goes on.

    All runs see the same data; a seed draws weights and order. A run whose ranges explode or whose values are not
    finite is an outcome, not an error.

    Args:
        given: what to run.
        folder: of `settings.json`, `outcomes.jsonl` and, while a run lasts, its checkpoints.
        say: gets a line now and then.

    Raises:
        BadInput: if the folder belongs to a study with other settings.
    """
    _settle(given, folder)
    found = []
    for seed in range(given.seeds):
        for variant in given.variants:
            path = folder / "runs" / f"{_slug(variant)}-{seed}"
            done = path.with_suffix(".json")
            if not done.exists():
                outcome = _run(given, variant, seed, path)
                write(done, encode(outcome) + "\n")
                shutil.rmtree(path)
                say(f"{outcome.variant} seed {seed}: {outcome.stopped or f'{outcome.accuracy:.4f}'}")
            found.append(decode(done))
    order = {(variant.factor, variant.value): at for at, variant in enumerate(given.variants)}
    found.sort(key=lambda each: (order[each.factor, each.value], each.seed))
    write(folder / RESULTS, "".join(encode(each) + "\n" for each in found))
    return tuple(found)


def _settle(given: Study, folder: Path) -> None:
    # Outcomes of other settings must not be mixed; more seeds or more variants are no other settings.
    sizes = [len(part.inputs) for part in (given.data.train, given.data.held, given.test)]
    settings = {"task": given.task, "inputs": sizes, "variants": {}}
    path = folder / SETTINGS
    own = {
        _slug(each): json.loads(json.dumps({"form": asdict(each.form), "plan": _plain(each.plan)}))
        for each in given.variants
    }
    if path.exists():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            theirs = kept.pop("variants")
        except (OSError, ValueError, KeyError) as error:
            raise BadInput("out", str(path), f"cannot be read ({error})", "name another folder") from error
        same = kept == {key: value for key, value in settings.items() if key != "variants"}
        if not same or any(theirs[name] != own[name] for name in theirs.keys() & own.keys()):
            raise BadInput("out", str(folder), "holds a study with other settings", "name another folder")
        own = theirs | own
    write(path, json.dumps(settings | {"variants": own}, indent=1) + "\n")


def _plain(plan: Plan) -> dict[str, object]:
    return asdict(replace(plan, degrees=dict(plan.degrees)))


def _slug(variant: Variant) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{variant.factor} {variant.value}".lower()).strip("-")


def _run(given: Study, variant: Variant, seed: int, path: Path) -> Outcome:
    began = time.monotonic()
    model = Transformer(variant.form, generator(seed, "study", variant.form.layers))
    stopped, metrics = "", {}
    stages: tuple[Stage, ...] = ()
    path.mkdir(parents=True, exist_ok=True)
    try:
        if variant.factor == TWIN:
            metrics = {"twin": train(model, given.data, _whole(variant.plan, seed), path, "twin")["accuracy"]}
        else:
            convert(model, given.data, _seeded(variant.plan, seed), path)
    except RangeExploded as error:
        stopped = f"{error.stage}: {error.site} received {error.value:.3g}"
    except BadInput as error:
        if error.argument not in ("model", "range"):
            raise
        stopped = f"{error.value} {error.rule}"
    if variant.factor != TWIN:
        stages = tuple(finished_stages(path))
        metrics = {stage.name: stage.metric["accuracy"] for stage in stages}
    accuracy = math.nan if stopped else judge(model, given.data, given.test)["accuracy"]
    return Outcome(
        factor=variant.factor,
        value=variant.value,
        seed=seed,
        metrics=metrics,
        ranges={stage.name: _largest(stage, model) for stage in stages},
        accuracy=accuracy,
        levels=(stages[-1].levels or None) if stages and not stopped else None,
        stopped=stopped,
        seconds=round(time.monotonic() - began, 1),
    )


def _seeded(plan: Plan, seed: int) -> Plan:
    def own(run: Schedule | None) -> Schedule | None:
        return None if run is None else replace(run, seed=seed)

    return replace(
        plan,
        replaced=own(plan.replaced),
        ranged=own(plan.ranged),
        tuned=own(plan.tuned),
        distilled=own(plan.distilled),
    )


def _whole(plan: Plan, seed: int) -> Schedule:
    # One run of as many epochs, at the highest of the rates.
    runs = [run for run in (plan.replaced, plan.ranged, plan.tuned, plan.distilled) if run is not None]
    fastest = max(runs, key=lambda run: run.learning_rate)
    return replace(fastest, epochs=sum(run.epochs for run in runs), frozen=0.0, distil=0.0, seed=seed)


def _largest(stage: Stage, model: nn.Module) -> float:
    counted = {name for name, site in sites(model).items() if site.function not in POSITIVE}
    return max(max(abs(low), abs(high)) for name, (low, high) in stage.ranges.items() if name in counted)


def split(whole: Part, held: float = 0.1, test: float = 0.2, seed: int = 0) -> tuple[Part, Part, Part]:
    """Return training, held-out and test parts of labelled inputs, drawn once for all runs.

    Args:
        whole: everything there is.
        held: share of the held-out part.
        test: share of the test part.
        seed: of the draw.

    Raises:
        BadInput: if a part would be empty.
    """
    count = len(whole.inputs)
    order, ends = (
        torch.randperm(count, generator=generator(seed, "study split")),
        (int(count * held), int(count * test)),
    )
    if min(*ends, count - sum(ends)) < 1:
        raise BadInput("inputs", count, "are too few for three parts", "give at least 20")
    cut = [order[sum(ends) :], order[: ends[0]], order[ends[0] : sum(ends)]]
    train_, held_, test_ = (Part(inputs=whole.inputs[index], targets=whole.targets[index]) for index in cut)
    return train_, held_, test_
