"""The stages of a conversion in their order, each with its metric, its checkpoint and its line in the report."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.conversion.checkpoint import keep, restore
from unmask.poly.conversion.data import Data, judge
from unmask.poly.conversion.depth import check, choose, degrees_of, depth
from unmask.poly.conversion.fit import fit
from unmask.poly.conversion.ranges import Penalty, Range, measure, sites
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.training import Say, Teacher, train
from unmask.poly.polynomial import Polynomial
from unmask.rng import generator
from unmask.storage import replace

REPORT = "stages.json"
MEASURED = 64
"""Held-out inputs, at most, on which it is measured how much each site matters."""
STAGES = ("replace", "range", "substitute", "polynomial", "distil", "intervals")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a conversion does.

    Args:
        degrees: of the polynomial of each site, by its module path or by its function.
        replaced: training of the new architecture with its functions; None if the model is trained.
        ranged: training with the penalty; None to leave it out.
        tuned: training with the polynomials in place; None to leave it out.
        distilled: more of it, with the original as the teacher; None to leave it out.
        penalty: of `ranged` and `tuned`.
        margin: factor from a measured range to an interval.
        budget: levels of a fresh ciphertext, within which degrees are chosen by the measured ranges; None to
            take `degrees`.
        settle: how often ranges are measured again with polynomials in place, which move what enters later sites,
            and the same degrees fitted to what was reached in either.

    Raises:
        BadInput: if a degree is below one, the margin below 1 or `settle` negative.
    """

    degrees: Mapping[str, int] = field(default_factory=dict)
    replaced: Schedule | None = field(default=None)
    ranged: Schedule | None = field(default=None)
    tuned: Schedule | None = field(default=None)
    distilled: Schedule | None = field(default=None)
    penalty: Penalty = field(default=Penalty())
    margin: float = field(default=1.2)
    budget: int | None = field(default=None)
    settle: int = field(default=0)

    def __post_init__(self) -> None:
        for name, degree in self.degrees.items():
            if degree < 1:
                raise BadInput("degrees", {name: degree}, "is below 1", "give degrees of at least 1")
        if self.settle < 0:
            raise BadInput("settle", self.settle, "is negative", "give 0, 1 or 2")
        if self.margin < 1:
            raise BadInput("margin", self.margin, "is below 1", "an interval holds at least the measured range")

    def degree(self, path: str, function: str) -> int:
        """Return the degree of a site.

        Args:
            path: its module path.
            function: what it computes.

        Raises:
            BadInput: if none is given.
        """
        found = self.degrees.get(path, self.degrees.get(function))
        if found is None:
            raise BadInput("degrees", dict(self.degrees), f"have none for {path} ({function})", "add one")
        return found


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage left behind.

    Args:
        name: one of `STAGES`.
        metric: on the held-out part, in evaluation.
        ranges: (low, high) of what enters each site there.
        seconds: how long it took, over all calls.
        levels: from the client's ciphertext to the logits; 0 while functions are in place.
        degrees: of the polynomial at each site; empty while functions are in place.
    """

    name: str
    metric: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    seconds: float
    levels: int = field(default=0)
    degrees: Mapping[str, int] = field(default_factory=dict)


def convert(
    model: nn.Module,
    data: Data,
    plan: Plan,
    folder: Path,
    *,
    teacher: Teacher | None = None,
    say: Say = lambda line: None,
) -> tuple[Stage, ...]:
    """Make a model polynomial in place, stage by stage, and return what each stage left.

    A call that was cut off is repeated: finished stages are read from the folder.

    Args:
        model: every non-linearity is an `Activation`.
        data: what it is trained and judged on. Ranges are measured on the held-out part.
        plan: what to do.
        folder: of checkpoints, `log.jsonl` and `stages.json`.
        teacher: the original, for distillation.
        say: gets a line now and then.

    Raises:
        RangeExploded: if training left every bound; the last good checkpoint stays.
        BadInput: if a site has no degree, or the folder belongs to something else.

    Source: Zimerman et al., 2024; the last training, with the polynomials in place, is not in the paper.
    """
    if plan.budget is None:
        for path, site in sites(model).items():
            plan.degree(path, site.function)
    else:
        check(model, _some(data, 2), plan.budget)
    folder.mkdir(parents=True, exist_ok=True)
    finished = list(finished_stages(folder))
    schedules = {"replace": plan.replaced, "range": plan.ranged, "polynomial": plan.tuned, "distil": plan.distilled}
    for name in STAGES:
        schedule = schedules.get(name)
        if schedule is None and name in schedules:
            continue
        if name == "intervals" and plan.tuned is None and plan.distilled is None:
            continue  # nothing moved since the intervals were measured
        if name in [stage.name for stage in finished]:
            restore(folder / f"{name}.safetensors", model)
            continue
        began = time.monotonic()
        if schedule is not None:
            penalty = None if name == "replace" else plan.penalty
            train(model, data, schedule, folder, name, penalty=penalty, teacher=teacher, say=say)
        else:
            _place(model, data, plan, fresh=name == "substitute")
            keep(folder / f"{name}.safetensors", model)
        stage = _stage(name, model, data, time.monotonic() - began)
        say(f"stage {name}: {json.dumps(dict(stage.metric))}, ranges up to {_largest(stage):.3g}")
        finished.append(stage)
        replace(folder / REPORT, json.dumps([vars(stage) for stage in finished], indent=1))
    return tuple(finished)


def held_ranges(model: nn.Module, data: Data, *, training: bool = False, held: bool = False) -> dict[str, Range]:
    """Return the range of each site on the held-out part.

    Args:
        model: any module with sites.
        data: its data.
        training: whether to look at the training part as well.
        held: whether polynomials take what leaves their interval as its end.
    """

    def inputs() -> Iterator[Tensor]:
        for part in (data.held, *([data.train] if training else [])):
            for x, _ in part.batches(500):
                yield data.prepare(x)

    return measure(model, inputs(), generator(0, "ranges"), held=held)


def _place(model: nn.Module, data: Data, plan: Plan, *, fresh: bool) -> None:
    # Fits polynomials, or moves those that are there to the intervals that the trained model needs.
    # What ships has to hold for inputs that nobody has seen yet: its intervals are of all there are.
    seen = held_ranges(model, data, training=True)
    chosen: dict[str, Polynomial] = {}
    if fresh and plan.budget is not None:
        chosen = choose(model, seen, plan.budget, _some(data, MEASURED), margin=plan.margin).polynomials
    for path, site in sites(model).items():
        if fresh:
            degree = chosen[path].degree if chosen else plan.degree(path, site.function)
            site.substitute(fit(site.function, degree, seen[path], margin=plan.margin))
        elif not site.wild:
            site.substitute(site.polynomial(seen[path].widened(plan.margin)))
    for _ in range(plan.settle if fresh else 0):
        seen = _settle(model, data, seen, plan.margin)


def _settle(model: nn.Module, data: Data, seen: dict[str, Range], margin: float) -> dict[str, Range]:
    # Held to their intervals, so that an input that leaves one early does not hide what enters the sites after it.
    reached = held_ranges(model, data, training=True, held=True)
    found = {path: seen[path].joined(each) for path, each in reached.items()}
    for path, degree in degrees_of(model).items():
        site = sites(model)[path]
        site.substitute(fit(site.function, degree, found[path], margin=margin))
    return found


def _some(data: Data, count: int) -> Tensor:
    return data.prepare(data.held.inputs[:count])


def _stage(name: str, model: nn.Module, data: Data, seconds: float) -> Stage:
    ranges = {path: (seen.low, seen.high) for path, seen in held_ranges(model, data).items()}
    degrees = degrees_of(model) if all(site.substituted for site in sites(model).values()) else {}
    return Stage(
        name=name,
        metric=judge(model, data, data.held),
        ranges=ranges,
        seconds=round(seconds, 1),
        levels=depth(model, degrees, _some(data, 2)) if degrees else 0,
        degrees=degrees,
    )


def _largest(stage: Stage) -> float:
    return max((max(-low, high) for low, high in stage.ranges.values()), default=0.0)


def finished_stages(folder: Path) -> Iterator[Stage]:
    """Yield the stages that a conversion has finished, of none at all if there is no report.

    Args:
        folder: of a conversion.

    Raises:
        BadInput: if the report is damaged.
    """
    path = folder / REPORT
    if not path.exists():
        return
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            ranges = {name: (float(low), float(high)) for name, (low, high) in entry["ranges"].items()}
            known = {name: entry[name] for name in ("metric", "seconds")}
            cost = {"levels": entry.get("levels", 0), "degrees": entry.get("degrees", {})}
            yield Stage(name=entry["name"], ranges=ranges, **known, **cost)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput("folder", str(folder), f"has a damaged {REPORT} ({error})", "delete it to start anew") from error
