"""Rows of polynomial transformers beside their soft-max twins: what `polynomial_recipes` trained.

The Fashion-MNIST network is judged again here, as the plain network that ships; the others take hours, so
their rows are read from the results that training wrote.
"""

import json
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.polynomial_data import cutter, fashion
from benchmarks.polynomial_recipes import MODELS, RECIPES
from benchmarks.rows import Row
from unmask.poly import demo
from unmask.poly.conversion.depth import ATTENTION, FEED_FORWARD
from unmask.poly.program import least_depth

COMMAND = "python -m benchmarks.polynomial models"
TRAINING = "python -m benchmarks.polynomial_recipes"
TWO = (
    "two layers in 20 epochs, taught by the twin of four layers in 30: four polynomial layers were trained twice and "
    "left every bound, with degree 4 when GELU was replaced after 13 epochs, and with degree 2 from the second epoch "
    "when the statistics of the batch norms were frozen"
)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One recipe's bar.

    Args:
        setting: of its rows.
        gap: how far below its twin the accuracy may be, or above it the perplexity by ratio.
        floor: least accuracy of `floor_of`, or None.
        floor_of: `polynomial` or `twin`.
        names: result files that may hold it, the best first.
    """

    setting: str
    gap: float
    floor: float | None
    floor_of: str
    names: tuple[str, ...]


BARS = {
    "cifar10": Bar(
        setting="vision transformer on CIFAR-10", gap=0.010, floor=0.75, floor_of="twin", names=("", "-two")
    ),
    "tiny-imagenet": Bar(
        setting="vision transformer on 20 classes of Tiny-ImageNet", gap=0.010, floor=None, floor_of="", names=("",)
    ),
    "sst2": Bar(
        setting="text encoder of two layers on SST-2, distilled from MiniLM",
        gap=0.010,
        floor=None,
        floor_of="",
        names=("",),
    ),
    "lm": Bar(setting="decoder of 6 layers, Brown to WikiText", gap=1.02, floor=None, floor_of="", names=("", "-0.1")),
}


def rows() -> list[Row]:
    """Return the rows of every model that was trained."""
    found = fashion_rows()
    for name, bar in BARS.items():
        pair = next((p for mark in bar.names if (p := _pair(name, mark)) is not None), None)
        if pair is not None:
            found += _language_rows(name, bar, *pair) if name == "lm" else _class_rows(name, bar, *pair)
        elif bar.floor_of == "twin" and (twin := _result(f"{name}-twin")) is not None:
            found.append(_floor_row(name, bar, twin, twin, ""))
    return found + range_rows()


def fashion_rows() -> list[Row]:
    """Judge the network that ships on the 10,000 test images, in float64."""
    began = time.monotonic()
    network = demo.network()
    _, test = fashion()
    cut, right, outside = cutter(7, 7, (0.0,), (1.0,)), 0, 0.0
    for at in range(0, len(test.inputs), 500):
        trace = network.trace(cut(test.inputs[at : at + 500]).double().numpy())
        right += int((trace["logits"].argmax(1) == test.targets[at : at + 500].numpy()).sum())
        outside = max(outside, *(each.outside(trace[name]) for name, each in network.polynomials().items()))
    accuracy, seconds, count = right / len(test.inputs), time.monotonic() - began, len(test.inputs)
    levels = 2 + len(network.blocks) * (ATTENTION + FEED_FORWARD)
    levels += sum(least_depth(each.degree) for each in network.polynomials().values())
    setting = "Fashion-MNIST transformer for encrypted runs"
    common: dict[str, Any] = {"n": count, "seconds": seconds, "command": COMMAND}
    found = [
        Row(
            setting=f"{setting}: accuracy",
            bar=">= 0.89",
            measured=accuracy,
            unit="",
            holds=accuracy >= 0.89,
            control=0.1,
            **common,
        ),
        Row(
            setting=f"{setting}: levels without a bootstrap",
            bar="<= 22",
            measured=levels,
            unit="levels",
            holds=levels <= 22,
            control=None,
            **common,
        ),
        Row(
            setting=f"{setting}: farthest input outside an interval, test images",
            bar="0",
            measured=outside,
            unit="",
            holds=outside == 0,
            control=None,
            **common,
        ),
    ]
    twin = _result("fashion-twin")
    if twin is not None:
        own, other = _result("fashion"), twin["test"]["accuracy"]
        # The twin's later epochs are trained last; until then its budget is the smaller one, and the row says so.
        epochs = (
            f"{own['epochs'] if own else '?'} epochs, of the twin {twin.get('epochs', 60)}; quadratics keep 22 levels"
        )
        found.append(_gap(f"{setting}: twin less polynomial", 0.005, other - accuracy, other, count, seconds, epochs))
    return found


def range_rows() -> list[Row]:
    """Return largest inputs before and after range training, from the stages of each recipe."""
    found = []
    for name in RECIPES:
        file = next(
            (f for mark in ("", "-0.03", "-0.1") if (f := MODELS / f"polynomial-{name}{mark}-stages.json").exists()),
            None,
        )
        if file is None:
            continue
        stages = {stage["name"]: stage for stage in json.loads(file.read_text(encoding="utf-8"))}
        if not {"replace", "range"} <= set(stages):
            continue
        before, after = (_largest(stages[stage]["ranges"]) for stage in ("replace", "range"))
        found.append(
            Row(
                setting=f"largest input of a non-linearity before over after range training, {name}",
                bar=">= 3.5",
                measured=before / after,
                unit="x",
                holds=before / after >= 3.5,
                control=f"{before:.3g} before, {after:.3g} after",
                n=len(stages["range"]["ranges"]),
                seconds=stages["range"]["seconds"],
                command=f"{TRAINING} {name}",
                reason="" if before / after >= 3.5 else "batch norms before the activations keep the start low",
            )
        )
    return found


def _class_rows(name: str, bar: Bar, own: dict[str, Any], twin: dict[str, Any]) -> list[Row]:
    accuracy, other = own["test"]["accuracy"], twin["test"]["accuracy"]
    lost = round((other - accuracy) * own["n"])
    unequal = f"{own['epochs']} epochs, of the twin {twin['epochs']}" if own["epochs"] != twin["epochs"] else ""
    reason = (
        (TWO if own["model"] == "cifar10-two" else _shortened(name, own))
        or unequal
        or (f"{lost} of {own['n']} inputs, one seed" if other - accuracy > bar.gap else "")
    )
    found = [
        _gap(f"{bar.setting}: twin less polynomial", bar.gap, other - accuracy, other, own["n"], own["seconds"], reason)
    ]
    if bar.floor is not None:
        found.append(_floor_row(name, bar, twin if bar.floor_of == "twin" else own, twin, reason))
    return found


def _floor_row(name: str, bar: Bar, judged: dict[str, Any], twin: dict[str, Any], reason: str) -> Row:
    accuracy = judged["test"]["accuracy"]
    assert bar.floor is not None
    return Row(
        setting=f"{bar.setting}: accuracy of the {bar.floor_of}",
        bar=f">= {bar.floor}",
        measured=accuracy,
        unit="",
        holds=accuracy >= bar.floor,
        control=1 / len(RECIPES[name].classes),
        n=judged["n"],
        seconds=twin["seconds"],
        command=f"{TRAINING} {name} twin",
        reason=reason,
    )


def _language_rows(name: str, bar: Bar, own: dict[str, Any], twin: dict[str, Any]) -> list[Row]:
    perplexity, other = (math.exp(each["test"]["loss"]) for each in (own, twin))
    return [
        Row(
            setting=f"{bar.setting}: perplexity over the twin's",
            bar=f"<= {bar.gap}",
            measured=perplexity / other,
            unit="x",
            holds=perplexity / other <= bar.gap,
            control=f"{perplexity:.4g} polynomial, {other:.4g} twin",
            n=own["n"],
            seconds=own["seconds"],
            command=f"{TRAINING} {name}",
            reason=_shortened(name, own),
        )
    ]


def _gap(setting: str, most: float, gap: float, twin: float, count: int, seconds: float, reason: str) -> Row:
    return Row(
        setting=setting,
        bar=f"<= {most:g}",
        measured=round(gap, 6),
        unit="",
        holds=gap <= most,
        control=f"{twin:.4f} twin",
        n=count,
        seconds=seconds,
        command=COMMAND,
        reason=reason,
    )


def _shortened(name: str, own: dict[str, Any]) -> str:
    plan = RECIPES[name].plan
    whole = RECIPES[name].twin[1].epochs + (0 if plan.distilled is None else plan.distilled.epochs)
    if own["epochs"] == whole:
        return ""
    return f"{own['epochs']} of the recipe's {whole} epochs; the whole run: {TRAINING} {name}, then {name} twin"


def _pair(name: str, mark: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    own, twin = _result(f"{name}{mark}"), _result(f"{name}-twin{mark}") or _result(f"{name}-twin")
    return None if own is None or twin is None else (own, twin)


def _result(name: str) -> dict[str, Any] | None:
    file = MODELS / f"polynomial-{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def _largest(ranges: dict[str, list[float]]) -> float:
    return float(np.max([np.abs(ends).max() for ends in ranges.values()]))


if __name__ == "__main__":
    for row in rows():
        print(row.setting, row.measured, row.bar, row.holds, row.control, sep=" | ")
