"""Training images from trained weights: `python -m benchmarks.parameters [CASE ...]`, all cases by default.

Each case is measured once, logged, and made into a row. Pixels are those of CIFAR-10.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.harness import DATA, threads
from benchmarks.rows import RESULTS, Row, save
from unmask.attacks.weights.parameter_span import ParameterSpan
from unmask.rng import generator
from unmask.surfaces.parameters import ParameterSurface
from unmask.victims.images import load
from unmask.victims.mlp import Descent, initial, targets, train, train_tangent
from unmask.weights import PublicMLP, WeightsObservation

LOG = RESULTS / "parameters.jsonl"
COMMAND = "make bench TOPIC=parameters"
LIMIT = 600.0
COSINE = 0.99
VEHICLES = (0, 1, 8, 9)
"""Labels of aeroplane, automobile, ship and truck; the others are animals."""

Line = dict[str, float | int | str]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training: number of images, hidden widths, linearised or in the usual way; whether to shuffle too."""

    count: int
    hidden: tuple[int, ...]
    linearised: bool = True
    shuffle: bool = False


CASES = {
    "50": Case(count=50, hidden=(4096,), shuffle=True),
    "100": Case(count=100, hidden=(4096,)),
    "deep": Case(count=50, hidden=(1024, 4096)),
    "standard": Case(count=50, hidden=(1024,), linearised=False),
    "200": Case(count=200, hidden=(4096,)),
}


def observed(case: Case) -> tuple[WeightsObservation, Tensor, Tensor, float]:
    """Return what is published, the training images, as many others, and the training loss."""
    images = load(DATA / "cifar10", 2 * case.count)
    assert images.labels is not None
    pixels = images.pixels.double()
    secret, outside = pixels[: case.count], pixels[case.count :]
    labels = torch.isin(images.labels[: case.count], torch.tensor(VEHICLES)).long()
    model = PublicMLP(shape=(3, 32, 32), hidden=case.hidden)
    noise = generator(0, "parameters", case.count)
    start = initial(model, noise)
    inputs, wanted = model.inputs(secret), targets(labels, 2)
    if case.linearised:
        ended = train_tangent(model, start, inputs, wanted)
    else:
        ended = train(model, start, inputs, wanted, Descent(learning_rate=1e-3, steps=300, loss=1e-4))
    surface = ParameterSurface()
    return surface.observe(model, start, ended.weights, noise, linearised=case.linearised), secret, outside, ended.loss


def shuffled(observation: WeightsObservation) -> WeightsObservation:
    """Return the observation with the hidden neurons' changes in another order: the same rank, no images."""
    assert observation.start is not None
    order = torch.randperm(observation.model.hidden[0], generator=generator(0, "shuffle"))
    final = {}
    for name, start in observation.start.items():
        change = observation.final[name] - start
        final[name] = start + (change[order] if name.startswith("layer.0.") else change)
    return WeightsObservation(
        start=observation.start, final=final, model=observation.model, knowledge=observation.knowledge
    )


def attacked(observation: WeightsObservation) -> tuple[Tensor, str, float, float]:
    """Return images, note, loss and seconds of the guess of least loss, which the attack itself measures."""
    began, best, attack = time.monotonic(), None, ParameterSpan()
    for guess in attack.run(observation, generator(0, attack.name)):
        best = guess if best is None or guess.loss < best.loss else best
        if guess.done or time.monotonic() - began > LIMIT:
            break
    assert best is not None
    images = torch.zeros(0, *observation.model.shape) if best.images is None else best.images
    return images, best.note, best.loss, time.monotonic() - began


def cosines(secret: Tensor, guess: Tensor) -> np.ndarray:
    """Return each secret's cosine with its guess, one to one with the largest sum, pixels centred at 1/2.

    Centred, because any two bright images have a large cosine. As many guesses take part as there are secrets.
    """
    table = torch.cosine_similarity(
        secret.flatten(1).double()[:, None] - 0.5, guess[: len(secret)].flatten(1).double()[None] - 0.5, dim=-1
    ).numpy()
    found = np.full(len(secret), -1.0)
    rows, columns = linear_sum_assignment(-table)
    found[rows] = table[rows, columns]
    return found


def measured(case: Case) -> Line:
    """Train, attack, and score; the controls too."""
    observation, secret, outside, training = observed(case)
    guess, note, loss, seconds = attacked(observation)
    inside, other = cosines(secret, guess), cosines(outside, guess)
    line: Line = {
        "share": float((inside >= COSINE).mean()),
        "least": float(inside.min()),
        "outside": float((other >= COSINE).mean()),
        "nearest outside": float(other.max()),
        "guesses": len(guess),
        "loss": loss if loss < float("inf") else "none",
        "training loss": training,
        "seconds": seconds,
        "note": note,
    }
    if case.shuffle:
        null, null_note, _, _ = attacked(shuffled(observation))
        line |= {"shuffled": float((cosines(secret, null) >= COSINE).mean()), "shuffled note": null_note}
    return line


def lines(log: Path = LOG) -> dict[str, Line]:
    """Return what the log holds, by case."""
    if not log.exists():
        return {}
    return {line["case"]: line for line in map(json.loads, log.read_text(encoding="utf-8").splitlines())}


def row(case: Case, line: Line) -> Row:
    """Return the row of one case."""
    widths = " and ".join(map(str, case.hidden))
    training = "linearised" if case.linearised else "standard (not linearised)"
    share, seconds = float(line["share"]), float(line["seconds"])
    drift = "kernel drift 0 by construction" if case.linearised else "not supported: weights and gates move"
    parts = [str(line["note"])]
    if line["guesses"]:
        parts += [
            f"least centred cosine {float(line['least']):.6g}"
            if int(line["guesses"]) >= case.count
            else f"{case.count - int(line['guesses'])} without a guess",
            f"replay residual {float(line['loss']):.2g}",
            f"control: as many CIFAR-10 images that were not in training, nearest {float(line['nearest outside']):.2f}",
        ]
    parts += [
        f"training loss {float(line['training loss']):.2g}",
        drift,
        "one training, float32, one thread beside other work",
    ]
    if "shuffled" in line:
        parts.insert(-1, f"neurons' changes shuffled: share {float(line['shuffled']):.2g} ({line['shuffled note']})")
    return Row(
        setting=f"CIFAR-10, animals against vehicles, {training} training, N = {case.count}, hidden width {widths}: "
        "share of images at centred cosine >= 0.99",
        bar=">= 0.90 within 600 s" if case.linearised else "reported",
        measured=share,
        unit="",
        holds=not case.linearised or (share >= 0.9 and seconds <= LIMIT),
        control=float(line["outside"]),
        n=case.count,
        seconds=round(seconds, 2),
        command=COMMAND,
        reason="; ".join(parts),
    )


def main(names: list[str]) -> int:
    """Measure the named cases that the log lacks, and save the rows of all that it holds; 2 for an unknown name."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"case {unknown[0]!r} is unknown; choose {', '.join(CASES)}", file=sys.stderr)
        return 2
    threads()
    for name in names or CASES:
        if name not in lines():
            line = {"case": name, **measured(CASES[name])}
            with LOG.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
        save("parameters", [row(CASES[known], line) for known, line in lines().items()])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
