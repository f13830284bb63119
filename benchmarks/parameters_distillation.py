"""Distilled sets: `python -m benchmarks.parameters_distillation [PART ...]`, all parts by default.

Fashion-MNIST, odd against even classes, 500 images distilled to 20. The set and the test images of a
run are drawn by its seed. One hidden layer, NTK parametrisation; a network is judged by the change of
its outputs, so that its random outputs before training play no part.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from benchmarks import parts
from benchmarks.harness import threads
from benchmarks.parameters_ordinary import FOLDER, NEAR
from benchmarks.rows import Row
from unmask.distill.finite import FiniteDistillation, distill_finite
from unmask.distill.inducing import Distillation, Distilled, Method, distill
from unmask.distill.kernel_machine import fit, gram
from unmask.distill.losses import Grams, ridged, rkip
from unmask.distill.losses import parts as split
from unmask.distill.ntk import AnalyticNTK
from unmask.distill.signals import Signals, gradient_kernel, signals
from unmask.rng import generator
from unmask.victims.images import load
from unmask.victims.mlp import Descent, initial, targets, train, train_tangent
from unmask.weights import Parametrisation, PublicMLP

COMMAND = "python -m benchmarks.parameters_distillation"
SEEDS = (101, 102)
"""None of them was looked at while settings were chosen."""
COUNT, FEW, TESTED, WIDTH, RIDGE = 500, 20, 4000, 4096, 1e-2
POINTS = 2.0
KERNEL = AnalyticNTK(hidden=1)
MODEL = PublicMLP(shape=(1, 28, 28), hidden=(WIDTH,), parametrisation=Parametrisation.NTK)
DESCENT = Descent(learning_rate=0.5, steps=600, loss=1e-3)
SETTING = f"Fashion-MNIST, odd against even, {COUNT} images distilled to {FEW}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Training and test images of one seed, and a network before training with what it makes of the test images."""

    inputs: Tensor
    wanted: Tensor
    fresh: Tensor
    right: Tensor
    start: Mapping[str, Tensor]
    seen: Signals


def problem(seed: int) -> Problem:
    """Draw images and a network."""
    train_set = load(FOLDER / "train-images-idx3-ubyte.gz", COUNT, seed)
    test_set = load(FOLDER / "t10k-images-idx3-ubyte.gz", TESTED, seed)
    assert train_set.labels is not None and test_set.labels is not None
    start = initial(MODEL, generator(seed, "distillation"), torch.float32)
    fresh = test_set.pixels.flatten(1)
    return Problem(
        inputs=train_set.pixels.flatten(1).double(),
        wanted=targets(train_set.labels % 2, 2),
        fresh=fresh.double(),
        right=targets(test_set.labels % 2, 2) > 0,
        start=start,
        seen=signals(MODEL, start, fresh),
    )


def accuracies(here: Problem, inputs: Tensor, wanted: Tensor) -> dict[str, float]:
    """Return test accuracies in percent: infinite width, tangent at finite width, gradient descent there."""
    found = {"infinite": fit(KERNEL, inputs.double(), wanted.double(), RIDGE)(here.fresh)}
    own = signals(MODEL, here.start, inputs.float())
    few = ridged(gradient_kernel(own, own)[:, 0, :, 0].double(), RIDGE)
    mixed = gradient_kernel(here.seen, own)[:, 0, :, 0].double()
    found["tangent"] = mixed @ torch.linalg.solve(few, wanted.double())
    asked = wanted.float() + MODEL(here.start, inputs.float())
    ended = train(MODEL, here.start, inputs.float(), asked, DESCENT).weights
    found["descent"] = MODEL(ended, here.fresh.float()) - here.seen.outputs
    return {name: 100 * float(((each > 0) == here.right).double().mean()) for name, each in found.items()}


def kernels(name: str, method: Method, learn: bool) -> list[Row]:
    """Distil at infinite width, train both ways, and compare."""
    began, found, whole, chance = time.monotonic(), [], [], []
    for seed in SEEDS:
        here = problem(seed)
        settings = Distillation(method=method, count=FEW, learn_labels=learn, steps=500)
        *_, few = distill(KERNEL, here.inputs, here.wanted, settings, generator(seed, "distil", name))
        found.append(accuracies(here, few.inputs, few.wanted))
        whole.append(infinite(here, here.inputs, here.wanted))
        chance.append(accuracies(here, here.inputs[:FEW], here.wanted[:FEW]))
    mean = {key: fmean(each[key] for each in found) for key in found[0]}
    gap = max(abs(each["infinite"] - each["tangent"]) for each in found)
    targets_are = "targets learned" if learn else "targets +-1"
    reason = (
        f"test accuracy at infinite width {mean['infinite']:.1f} %, tangent of width {WIDTH} with the same ridge "
        f"{mean['tangent']:.1f} %, gradient descent at that width {mean['descent']:.1f} %; all {COUNT} images at "
        f"infinite width {fmean(whole):.1f} %; {FEW} of the images themselves "
        f"{fmean(each['infinite'] for each in chance):.1f} / {fmean(each['tangent'] for each in chance):.1f} / "
        f"{fmean(each['descent'] for each in chance):.1f} %; {len(SEEDS)} draws, {TESTED} test images, on a machine "
        "shared with other work"
    )
    common = {"command": COMMAND, "n": len(SEEDS), "seconds": round(time.monotonic() - began, 1)}
    name = f"{SETTING} by {method.value.upper()}, {targets_are}"
    return [
        Row(
            setting=f"{name}: largest difference between infinite width and width {WIDTH} (tangent)",
            bar=f"<= {POINTS:g}",
            measured=round(gap, 2),
            unit="points",
            holds=gap <= POINTS,
            control=None,
            reason=reason,
            **common,
        ),
        Row(
            setting=f"{name}: accuracy lost against all {COUNT} images, infinite width",
            bar=f"<= {POINTS:g}",
            measured=round(fmean(whole) - mean["infinite"], 2),
            unit="points",
            holds=fmean(whole) - mean["infinite"] <= POINTS,
            control=round(fmean(whole) - fmean(each["infinite"] for each in chance), 2),
            reason=f"control: {FEW} of the images themselves",
            **common,
        ),
        Row(
            setting=f"{name}: accuracy of gradient descent at width {WIDTH}",
            bar="reported",
            measured=round(mean["descent"], 2),
            unit="%",
            holds=True,
            control=round(fmean(each["descent"] for each in chance), 2),
            reason=f"control: {FEW} of the images themselves; theory speaks of the tangent, not of this",
            **common,
        ),
    ]


def infinite(here: Problem, inputs: Tensor, wanted: Tensor) -> float:
    """Return the test accuracy in percent of the infinitely wide network."""
    found = fit(KERNEL, inputs, wanted, RIDGE)(here.fresh)
    return 100 * float(((found > 0) == here.right).double().mean())


def finite() -> list[Row]:
    """Train a network of finite width on everything, distil its weights, train another network on that."""
    began, found, teacher, losses = time.monotonic(), [], [], []
    for seed in SEEDS:
        here = problem(seed)
        asked = here.wanted.float() + MODEL(here.start, here.inputs.float())
        descent = Descent(learning_rate=0.5, steps=250, loss=1e-3)
        ended = train(MODEL, here.start, here.inputs.float(), asked, descent).weights
        change = MODEL(ended, here.fresh.float()) - here.seen.outputs
        teacher.append(100 * float(((change > 0) == here.right).double().mean()))
        few = _read(ended, here.start, seed)
        losses.append(few.loss)
        other = initial(MODEL, generator(seed, "another network"), torch.float32)
        there = Problem(**{**vars(here), "start": other, "seen": signals(MODEL, other, here.fresh.float())})
        found.append(accuracies(there, few.inputs, few.wanted))
    mean = {key: fmean(each[key] for each in found) for key in found[0]}
    lost = fmean(teacher) - mean["descent"]
    return [
        Row(
            setting=f"{SETTING} by RKIP-finite, from the weights of a network of width {WIDTH}: accuracy lost by "
            "gradient descent of another network of that width",
            bar=f"<= {POINTS:g}",
            measured=round(lost, 2),
            unit="points",
            holds=lost <= POINTS,
            control=None,
            n=len(SEEDS),
            seconds=round(time.monotonic() - began, 1),
            command=COMMAND,
            reason=f"the network distilled {fmean(teacher):.1f} %; another one trained on the {FEW} images "
            f"{mean['descent']:.1f} %, its tangent {mean['tangent']:.1f} %, infinite width {mean['infinite']:.1f} %; "
            f"{fmean(losses):.2g} of the squared weight change is not explained; no training image was read; "
            f"{len(SEEDS)} draws, on a machine shared with other work",
        )
    ]


def _read(ended: Mapping[str, Tensor], start: Mapping[str, Tensor], seed: int) -> Distilled:
    settings = FiniteDistillation(count=FEW, steps=400)
    *_, few = distill_finite(MODEL, start, ended, settings, generator(seed, "distil finite"))
    return few


def identity() -> list[Row]:
    """Compare the reconstruction loss with the split into KIP and the rest, and with the loss in the weights."""
    began, seed = time.monotonic(), SEEDS[0]
    here = problem(seed)
    few = 0.5 + 0.2 * torch.randn(FEW, MODEL.sizes[0], generator=generator(seed, "identity"), dtype=torch.float64)
    grams = Grams(whole=gram(KERNEL, here.inputs), mixed=KERNEL(here.inputs, few), few=gram(KERNEL, few))
    duals = torch.linalg.solve(ridged(grams.few, RIDGE), here.wanted[:FEW])
    seen, apart = split(grams, here.wanted, duals)
    whole = 2 * rkip(grams, torch.linalg.solve(grams.whole, here.wanted), duals)
    wrong = abs(float((seen + apart) / whole) - 1)
    narrow = PublicMLP(shape=(1, 28, 28), hidden=(512,), parametrisation=Parametrisation.NTK)
    start = initial(narrow, generator(seed, "narrow"))
    final = train_tangent(narrow, start, here.inputs, here.wanted).weights
    own, all_of = signals(narrow, start, few), signals(narrow, start, here.inputs)
    change = own.combine(duals)
    direct = sum(float((final[name] - start[name] - change[name]).square().sum()) for name in start)
    kernel = partial(lambda left, right: gradient_kernel(left, right)[:, 0, :, 0])
    empirical = Grams(whole=kernel(all_of, all_of), mixed=kernel(all_of, own), few=kernel(own, own))
    known = torch.linalg.solve(empirical.whole, here.wanted - all_of.outputs)
    other = abs(2 * float(rkip(empirical, known, duals)) / direct - 1)
    seconds = round(time.monotonic() - began, 1)
    common = {"bar": "< 1e-06", "unit": "relative", "control": None, "n": 1, "seconds": seconds, "command": COMMAND}
    name = f"Fashion-MNIST, {COUNT} images and {FEW} of noise"
    return [
        Row(
            setting=f"{name}, infinite width: twice RKIP against KIP in the norm of K_TT^-1 plus the part apart",
            measured=float(f"{wrong:.1e}"),
            holds=wrong < 1e-6,
            reason=f"twice RKIP {float(whole):.6g}, of which {float(seen):.6g} is KIP in that norm; float64",
            **common,
        ),
        Row(
            setting=f"{name}, width 512: twice RKIP with the empirical kernel against the loss of the weight change",
            measured=float(f"{other:.1e}"),
            holds=other < 1e-6,
            reason="the weight change is that of a tangent training; the second loss sums over all parameters; float64",
            **common,
        ),
    ]


def originals(name: str, method: Method, learn: bool) -> list[Row]:
    """Grant an adversary the distilled images themselves, and look for the private ones among them."""
    began, shares, others, nearest = time.monotonic(), [], [], []
    for seed in SEEDS:
        both = load(FOLDER / "train-images-idx3-ubyte.gz", 2 * COUNT, seed)
        assert both.labels is not None
        pixels, wanted = both.pixels.flatten(1).double(), targets(both.labels % 2, 2)
        settings = Distillation(method=method, count=FEW, learn_labels=learn, steps=500)
        *_, few = distill(KERNEL, pixels[:COUNT], wanted[:COUNT], settings, generator(seed, "distil", name))
        table = torch.cdist(pixels, few.inputs).min(1).values
        shares.append(float((table[:COUNT] < NEAR).double().mean()))
        others.append(float((table[COUNT:] < NEAR).double().mean()))
        nearest.append((float(table[:COUNT].min()), float(table[COUNT:].min())))
    share, control = fmean(shares), fmean(others)
    return [
        Row(
            setting=f"{SETTING} by {method.value.upper()}, targets {'learned' if learn else '+-1'}: share of originals "
            f"within L2 {NEAR:g} of a distilled image",
            bar="no higher than the control",
            measured=round(share, 4),
            unit="",
            holds=share <= control,
            control=round(control, 4),
            n=len(SEEDS),
            seconds=round(time.monotonic() - began, 1),
            command=COMMAND,
            reason=f"what a perfect attack on a network trained on the {FEW} images would read; nearest original at L2 "
            f"{min(a for a, _ in nearest):.2g}, nearest of {COUNT} images that were not distilled "
            f"{min(b for _, b in nearest):.2g}; guarantee: none: empirical only",
        )
    ]


PARTS = {
    "originals-kip": partial(originals, "kip", Method.KIP, False),
    "originals-rkip": partial(originals, "rkip-labels", Method.RKIP, True),
    "identity": identity,
    "kip": partial(kernels, "kip", Method.KIP, False),
    "kip-labels": partial(kernels, "kip-labels", Method.KIP, True),
    "rkip": partial(kernels, "rkip", Method.RKIP, False),
    "rkip-labels": partial(kernels, "rkip-labels", Method.RKIP, True),
    "finite": finite,
}


if __name__ == "__main__":
    threads()
    sys.exit(parts.run("parameters", PARTS, sys.argv[1:]))
