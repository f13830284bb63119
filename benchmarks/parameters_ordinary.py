"""Images from ordinary trainings: `python -m benchmarks.parameters_ordinary [CASE ...]`.

Fashion-MNIST, odd against even classes, from `FASHION` or where Debian's dataset-fashion-mnist puts it.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import threads
from benchmarks.parameters_infinite import distances
from benchmarks.rows import Row, save
from unmask.attack import Attack
from unmask.attacks.weights.closed_neurons import ClosedNeurons
from unmask.attacks.weights.dual_matching import DualMatching
from unmask.attacks.weights.stationarity import Stationarity
from unmask.distill.signals import gradient_kernel, signals
from unmask.rng import generator
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims.images import load
from unmask.victims.mlp import Descent, initial, targets, train
from unmask.vision import Images
from unmask.weights import PublicMLP, WeightsObservation, WeightsVictim

FOLDER = Path(os.environ.get("FASHION", "/usr/share/datasets/fashion-mnist"))
COMMAND = "python -m benchmarks.parameters_ordinary"
LIMIT = 600.0
PUBLISHED = {"20": 300.0, "deep": 300.0, "50": 120.0}
"""Seconds that each published attack gets on a case, on the same weights."""
NEAR = 2.0
"""The published curve stays below this L2 error for 70 % of the images."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Number of images and hidden widths, images passed over before, and a bar and seconds of the attack."""

    count: int
    hidden: tuple[int, ...]
    skip: int = 0
    bar: str = ">= 0.70"
    limit: float = LIMIT


def curve(count: int, width: int) -> Case:
    """Return a point of the curves: images that the attack was not developed on, a shorter limit, no bar."""
    return Case(count=count, hidden=(width,), skip=40_000, bar="reported", limit=60.0)


CASES = {
    "20": Case(count=20, hidden=(1024,)),
    "50": Case(count=50, hidden=(2048,)),
    "deep": Case(count=50, hidden=(1024, 1024)),
    "100": Case(count=100, hidden=(1024, 1024)),
    "200": Case(count=200, hidden=(2048, 2048)),
    **{f"width-{width}": curve(20, width) for width in (256, 512, 2048)},
    **{f"count-{count}": curve(count, 1024) for count in (10, 30, 40)},
}


def attacked(
    victim: WeightsVictim,
    shuffled: bool,
    limit: float,
    attack: Attack[WeightsObservation] = ClosedNeurons(),  # noqa: B008
) -> tuple[Tensor, str, float]:
    """Return images, note and seconds."""
    observation = PublishedWeights(shuffled=shuffled).observe(victim, generator(0, "ordinary"))
    began, found, note = time.monotonic(), torch.zeros(0, *victim.model.shape), ""
    for guess in attack.run(observation, generator(0, attack.name)):
        found, note = found if guess.images is None else guess.images, guess.note
        if guess.done or time.monotonic() - began > limit:
            break
    return found, note, time.monotonic() - began


def drift(victim: WeightsVictim, inputs: Tensor) -> float:
    """Return 1 less the cosine of the tangent kernels before and after training, on the training images."""
    kernels = []
    for weights in (victim.start, victim.final):
        seen = signals(victim.model, weights, inputs)
        kernels.append(gradient_kernel(seen, seen).flatten())
    return 1 - float(torch.cosine_similarity(kernels[0], kernels[1], dim=0))


def trained(case: Case) -> tuple[WeightsVictim, Tensor, float, int]:
    """Return who publishes, as many images that were not in training, the training loss and the steps."""
    middle = case.skip + case.count
    images = load(FOLDER / "train-images-idx3-ubyte.gz", middle + case.count)
    assert images.labels is not None
    secret, outside = images.pixels[case.skip : middle], images.pixels[middle:].double()
    model = PublicMLP(shape=(1, 28, 28), hidden=case.hidden)
    inputs = model.inputs(secret)
    start = initial(model, generator(0, "ordinary", case.count), torch.float32)
    wanted = targets(images.labels[case.skip : middle] % 2, 2).float()
    ended = train(model, start, inputs, wanted, Descent(learning_rate=1e-3, steps=600, loss=1e-4))
    victim = WeightsVictim(model=model, start=start, final=ended.weights, secret=Images(pixels=secret))
    return victim, outside, ended.loss, ended.steps


def measured(name: str) -> list[Row]:
    """Train, attack, score; the controls too, and the published attacks on the same weights."""
    case = CASES[name]
    victim, outside, loss, steps = trained(case)
    assert victim.secret is not None
    secret = victim.secret.pixels
    found, note, seconds = attacked(victim, False, case.limit)
    null, _, _ = attacked(victim, True, min(60.0, 2 * seconds))
    errors, other = distances(secret.double(), found), distances(outside, found[: len(outside)])
    dealt = distances(secret.double(), null)
    share = float((errors < NEAR).double().mean())
    worst = f"median {float(errors.median()):.2g}, largest {float(errors.max()):.2g}" if len(found) else "no image"
    widths = " and ".join(map(str, case.hidden))
    base = f"Fashion-MNIST, odd against even, ordinary training, N = {case.count}, hidden width {widths}"
    ours = Row(
        setting=f"{base}: share of images within L2 {NEAR:g}",
        bar=case.bar,
        measured=share,
        unit="",
        holds=case.bar == "reported" or share >= 0.7,
        control=float((other < NEAR).double().mean()),
        n=case.count,
        seconds=round(seconds, 1),
        command=COMMAND,
        reason=f"L2 error: {worst}; {note}; control: as many images that were not in training, nearest "
        f"{float(other.min()) if len(found) else -1:.2g}; change dealt to other neurons: share "
        f"{float((dealt < NEAR).double().mean()):.2g}; kernel drift "
        f"{drift(victim, victim.model.inputs(secret)):.2g}; training loss "
        f"{loss:.2g} after {steps} steps; N is not given; one training, one thread on a machine shared "
        "with other work",
    )
    return [ours, *published(name, base, victim, share, seconds)]


def published(name: str, base: str, victim: WeightsVictim, ours: float, seconds: float) -> list[Row]:
    """Return what the published attacks reach on the same weights, and how much longer they take."""
    if name not in PUBLISHED:
        return []
    assert victim.secret is not None
    secret, limit, rows = victim.secret.pixels.double(), PUBLISHED[name], []
    for attack in (DualMatching(), Stationarity(count=len(secret))):
        found, note, spent = attacked(victim, False, limit, attack)
        # All candidates take part, twice as many as images: this favours them.
        errors = distances(secret, found)
        share = float((errors < NEAR).double().mean())
        shared = {
            "unit": "",
            "n": len(secret),
            "seconds": round(spent, 1),
            "command": COMMAND,
            "reason": f"L2 error: median {float(errors.median()):.2g}, least {float(errors.min()):.2g}; {note}, when "
            f"{limit:g} s of one thread were over; {attack.source}; closed-neurons on the same weights: share "
            f"{ours:.2g} in {seconds:.1f} s",
        }
        rows.append(
            Row(
                setting=f"{base}: share of images within L2 {NEAR:g}, {attack.name} as published",
                bar="reported",
                measured=share,
                holds=True,
                control=ours,
                **shared,  # type: ignore[arg-type]
            )
        )
        if isinstance(attack, DualMatching):
            ratio = spent / seconds
            words = f"{ratio:.0f}" if share >= ours else f"more than {ratio:.0f}"
            rows.append(
                Row(
                    setting=f"{base}: times longer that the published attack takes to the same share",
                    bar=">= 10",
                    measured=words,
                    holds=ratio >= 10,
                    control=None,
                    **(shared | {"unit": "x"}),  # type: ignore[arg-type]
                )
            )
    return rows


def main(names: list[str]) -> int:
    """Measure the named cases, all by default; 2 for an unknown name."""
    if set(names) - set(CASES):
        print(f"cases {names} are unknown; choose {', '.join(CASES)}", file=sys.stderr)
        return 2
    threads()
    for name in names or CASES:
        rows = measured(name)
        save("parameters", rows)
        for row in rows:
            print(row.cells(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
