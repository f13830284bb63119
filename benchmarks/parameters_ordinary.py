"""Images from ordinary trainings: `python -m benchmarks.parameters_ordinary [CASE ...]`.

Fashion-MNIST, odd against even classes, from `FASHION` or where Debian's dataset-fashion-mnist puts it.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import threads
from benchmarks.parameters_infinite import distances
from benchmarks.rows import RESULTS, Row, save
from unmask.attack import Attack
from unmask.attacks.weights.closed_neurons import ClosedNeurons
from unmask.distill.signals import gradient_kernel, signals
from unmask.rng import generator
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims.images import load
from unmask.victims.mlp import Descent, initial, targets, train
from unmask.vision import Images
from unmask.weights import PublicMLP, WeightsObservation, WeightsVictim

FOLDER = Path(os.environ.get("FASHION", "/usr/share/datasets/fashion-mnist"))
COMMAND = "python -m benchmarks.parameters_ordinary"
LOG = RESULTS / "parameters-ordinary.jsonl"
"""One line per case: every image's error, for the curves."""
LIMIT = 330.0
Line = dict[str, Any]
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


def curve(count: int, width: int, limit: float = 60.0) -> Case:
    """Return a point of the curves: images that the attack was not developed on, a shorter limit, no bar."""
    return Case(count=count, hidden=(width,), skip=40_000, bar="reported", limit=limit)


WIDTHS = (512, 1024, 2048, 4096, 8192)
"""Widths of the first curve, at 20 images; the second is over numbers of images at width 2048."""

CASES = {
    "20": Case(count=20, hidden=(1024,)),
    "50": Case(count=50, hidden=(2048,)),
    "deep": Case(count=50, hidden=(1024, 1024)),
    "100": Case(count=100, hidden=(2048,)),
    "200": Case(count=200, hidden=(2048,)),
    "200-deep": Case(count=200, hidden=(2048, 2048)),
    **{f"width-{width}": curve(20, width) for width in WIDTHS},
    "count-500": curve(500, 2048, 330.0),
}


def attacked(
    victim: WeightsVictim,
    shuffled: bool,
    limit: float,
    attack: Attack[WeightsObservation] = ClosedNeurons(),  # noqa: B008
) -> tuple[Tensor, str, float]:
    """Return images, note and processor seconds of the attack."""
    observation = PublishedWeights(shuffled=shuffled).observe(victim, generator(0, "ordinary"))
    began, found, note = time.process_time(), torch.zeros(0, *victim.model.shape), ""
    for guess in attack.run(observation, generator(0, attack.name)):
        found, note = found if guess.images is None else guess.images, guess.note
        if guess.done or time.process_time() - began > limit:
            break
    return found, note, time.process_time() - began


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
    """Train, attack, score; the controls too."""
    case = CASES[name]
    victim, outside, loss, steps = trained(case)
    assert victim.secret is not None
    secret = victim.secret.pixels
    found, note, seconds = attacked(victim, False, case.limit)
    null, _, _ = attacked(victim, True, min(60.0, 2 * seconds))
    errors, other = distances(secret.double(), found), distances(outside, found[: len(outside)])
    dealt = distances(secret.double(), null)
    share, moved = float((errors < NEAR).double().mean()), drift(victim, victim.model.inputs(secret))
    line = {
        "case": name,
        "count": case.count,
        "hidden": case.hidden,
        # An image without a guess has no error, which JSON writes as null.
        "errors": [round(e, 6) if e < float("inf") else None for e in sorted(errors.tolist())],
        "outside": [round(e, 6) for e in sorted(other.tolist()) if e < float("inf")],
        "drift": moved,
        "seconds": round(seconds, 1),
    }
    with LOG.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    worst = f"median {float(errors.median()):.2g}, largest {float(errors.max()):.2g}" if len(found) else "no image"
    row = Row(
        setting=f"{base(case)}: share of images within L2 {NEAR:g}",
        bar=case.bar,
        measured=share,
        unit="",
        holds=case.bar == "reported" or share >= 0.7,
        control=float((other < NEAR).double().mean()),
        n=case.count,
        seconds=round(seconds, 1),
        command=COMMAND,
        reason=f"L2 error: {worst}; {note}; control: as many images that were not in training, nearest "
        f"{f'{float(other.min()):.2g}' if len(found) else 'none'}; change dealt to other neurons: share "
        f"{float((dealt < NEAR).double().mean()):.2g}; kernel drift "
        f"{moved:.2g}; training loss "
        f"{loss:.2g} after {steps} steps; N is not given; one training; processor seconds of one thread",
    )
    return [row]


def base(case: Case) -> str:
    """Name a case."""
    widths = " and ".join(map(str, case.hidden))
    return f"Fashion-MNIST, odd against even, ordinary training, N = {case.count}, hidden width {widths}"


def lines(log: Path = LOG) -> dict[str, Line]:
    """Return the last line of each case."""
    if not log.exists():
        return {}
    return {line["case"]: line for line in map(json.loads, log.read_text(encoding="utf-8").splitlines())}


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
