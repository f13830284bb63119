"""Images from an infinitely wide network: `python -m benchmarks.parameters_infinite`."""

import sys
import time

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.harness import DATA, threads
from benchmarks.parameters import VEHICLES
from benchmarks.rows import Row, save
from unmask.attacks.weights.kernel_inputs import KernelInputs
from unmask.distill.kernel_machine import FunctionObservation, fit
from unmask.distill.ntk import AnalyticNTK
from unmask.rng import generator
from unmask.victims.images import load

COMMAND = "python -m benchmarks.parameters_infinite"
BAR = 1e-3
SETTINGS = ((100, 1), (100, 2), (500, 2))
"""Numbers of images and of hidden layers."""


def distances(secret: Tensor, guess: Tensor) -> Tensor:
    """Return each secret's L2 distance to its guess, one to one with the least sum."""
    # The faster way by inner products would round at 1e-6.
    table = torch.cdist(secret.flatten(1), guess.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist")
    rows, columns = linear_sum_assignment(table.numpy())
    found = torch.full((len(secret),), float("inf"), dtype=torch.float64)
    found[rows] = table[rows, columns]
    return found


def measured(count: int, hidden: int) -> Row:
    """Train, attack, score, and match the same guesses to images that were not in training."""
    images = load(DATA / "cifar10", 2 * count)
    assert images.labels is not None
    pixels = images.pixels.double()
    vehicle = torch.isin(images.labels[:count], torch.tensor(VEHICLES))
    kernel = AnalyticNTK(hidden=hidden)
    machine = fit(kernel, pixels[:count].flatten(1), torch.where(vehicle, 1.0, -1.0).double()[:, None])
    observation = FunctionObservation(change=machine, kernel=kernel, shape=(3, 32, 32))
    began = time.monotonic()
    (guess,) = KernelInputs().run(observation, generator(0, "infinite", count, hidden))
    seconds = time.monotonic() - began
    found = torch.zeros(0, 3, 32, 32) if guess.images is None else guess.images
    errors = distances(pixels[:count], found)
    outside = float(torch.cdist(pixels[count:].flatten(1), found.flatten(1).double()).min()) if len(found) else -1.0
    worst = float(errors.max())
    layers = f"{hidden} hidden layer{'' if hidden == 1 else 's'}"
    return Row(
        setting=f"CIFAR-10, animals against vehicles, infinite width, analytic kernel, {layers}, N = {count}: "
        "largest L2 error of an image",
        bar=f"< {BAR:g}" if count == 100 else "reported",
        measured=f"{worst:.2g}" if worst < float("inf") else "an image is missing",
        unit="L2",
        holds=worst < BAR or count != 100,
        control=f"{outside:.3g}",
        n=count,
        seconds=round(seconds, 2),
        command=COMMAND,
        reason=f"median error {float(errors.median()):.2g}; {guess.note}; replay residual at fresh inputs "
        f"{guess.loss:.2g}; control: least distance of a guess to {count} CIFAR-10 images that were not in training; "
        "float64, the function is evaluated and differentiated",
    )


def main() -> int:
    """Measure every setting and save its row."""
    threads()
    for count, hidden in SETTINGS:
        row = measured(count, hidden)
        save("parameters", [row])
        print(row.cells(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
