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
from unmask.attacks.weights.closed_neurons import ClosedNeurons
from unmask.distill.signals import gradient_kernel, signals
from unmask.rng import generator
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims.images import load
from unmask.victims.mlp import Descent, initial, targets, train
from unmask.vision import Images
from unmask.weights import PublicMLP, WeightsVictim

FOLDER = Path(os.environ.get("FASHION", "/usr/share/datasets/fashion-mnist"))
COMMAND = "python -m benchmarks.parameters_ordinary"
LIMIT = 600.0
NEAR = 2.0
"""The published curve stays below this L2 error for 70 % of the images."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Number of images and hidden widths."""

    count: int
    hidden: tuple[int, ...]


CASES = {
    "20": Case(count=20, hidden=(1024,)),
    "50": Case(count=50, hidden=(2048,)),
    "deep": Case(count=50, hidden=(1024, 1024)),
    "100": Case(count=100, hidden=(1024, 1024)),
    "200": Case(count=200, hidden=(2048, 2048)),
}


def attacked(victim: WeightsVictim, shuffled: bool, limit: float) -> tuple[Tensor, str, float]:
    """Return images, note and seconds."""
    observation = PublishedWeights(shuffled=shuffled).observe(victim, generator(0, "ordinary"))
    began, found, note, attack = time.monotonic(), torch.zeros(0, *victim.model.shape), "", ClosedNeurons()
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


def measured(case: Case) -> Row:
    """Train, attack, score; the controls too."""
    images = load(FOLDER / "train-images-idx3-ubyte.gz", 2 * case.count)
    assert images.labels is not None
    secret, outside = images.pixels[: case.count], images.pixels[case.count :].double()
    model = PublicMLP(shape=(1, 28, 28), hidden=case.hidden)
    inputs = model.inputs(secret)
    start = initial(model, generator(0, "ordinary", case.count), torch.float32)
    wanted = targets(images.labels[: case.count] % 2, 2).float()
    ended = train(model, start, inputs, wanted, Descent(learning_rate=1e-3, steps=600, loss=1e-4))
    victim = WeightsVictim(model=model, start=start, final=ended.weights, secret=Images(pixels=secret))
    found, note, seconds = attacked(victim, False, LIMIT)
    null, _, _ = attacked(victim, True, min(60.0, 2 * seconds))
    errors, other = distances(secret.double(), found), distances(outside, found[: len(outside)])
    dealt = distances(secret.double(), null)
    share = float((errors < NEAR).double().mean())
    worst = f"median {float(errors.median()):.2g}, largest {float(errors.max()):.2g}" if len(found) else "no image"
    widths = " and ".join(map(str, case.hidden))
    return Row(
        setting=f"Fashion-MNIST, odd against even, ordinary training, N = {case.count}, hidden width {widths}: "
        f"share of images within L2 {NEAR:g}",
        bar=">= 0.70",
        measured=share,
        unit="",
        holds=share >= 0.7,
        control=float((other < NEAR).double().mean()),
        n=case.count,
        seconds=round(seconds, 1),
        command=COMMAND,
        reason=f"L2 error: {worst}; {note}; control: as many images that were not in training, nearest "
        f"{float(other.min()) if len(found) else -1:.2g}; change dealt to other neurons: share "
        f"{float((dealt < NEAR).double().mean()):.2g}; kernel drift {drift(victim, inputs):.2g}; training loss "
        f"{ended.loss:.2g} after {ended.steps} steps; N is not given; one training, one thread on a machine shared "
        "with other work",
    )


def main(names: list[str]) -> int:
    """Measure the named cases, all by default; 2 for an unknown name."""
    if set(names) - set(CASES):
        print(f"cases {names} are unknown; choose {', '.join(CASES)}", file=sys.stderr)
        return 2
    threads()
    for name in names or CASES:
        row = measured(CASES[name])
        save("parameters", [row])
        print(row.cells(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
