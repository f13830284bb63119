"""Training images from trained weights: each case is measured once, logged, and made into rows."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.harness import threads
from benchmarks.images import cifar
from benchmarks.rows import Row, save
from unmask.attack import Attack
from unmask.attacks.parameter_match import ParameterMatch, Point
from unmask.attacks.parameter_span import ParameterSpan
from unmask.metrics.image_sets import curve, share_similar
from unmask.rng import generator
from unmask.surfaces.parameters import ParameterSurface
from unmask.victims.mlp import initial, targets, train_tangent
from unmask.weights import PublicMLP, WeightsObservation

LOG = Path(__file__).parent / "results" / "parameters.jsonl"
COMMAND = "make bench TOPIC=parameters"
OUTSIDE = 1000
"""Images from here on are in no training set: the mean image and the controls are taken from them."""

Line = dict[str, float | int | str]


def trained(
    count: int, hidden: tuple[int, ...], dtype: str = "float32"
) -> tuple[WeightsObservation, torch.Tensor, torch.Tensor]:
    """Return weights of a linearised training on CIFAR-10, its images, and as many that were not in it."""
    images, labels = cifar(count)
    outside, _ = cifar(count + 500, skip=OUTSIDE)
    model = PublicMLP(shape=(3, 32, 32), hidden=hidden, offset=outside[count:].mean(0).flatten())
    noise = generator(0, "victim", count, hidden)
    start = initial(model, noise)
    final = train_tangent(model, start, model.inputs(images), targets(labels, 2)).weights
    surface = ParameterSurface(dtype=dtype, knows_count=False)
    return surface.observe(model, start, final, noise, count=count, linearised=True), images, outside[:count]


def shuffled(observation: WeightsObservation) -> WeightsObservation:
    """Return the observation with the neurons' changes in another order: the same numbers, no images."""
    assert observation.start is not None
    order = torch.randperm(len(observation.start["layer.0.weight"]), generator=generator(0, "shuffle"))
    final = {}
    for name, start in observation.start.items():
        change = observation.final[name] - start
        final[name] = start + (change[order] if name.startswith("layer.0") else change)
    return WeightsObservation(
        start=observation.start, final=final, model=observation.model, knowledge=observation.knowledge
    )


def attacked(
    attack: Attack[WeightsObservation], observation: WeightsObservation, seconds: float
) -> tuple[torch.Tensor, str, float, float]:
    """Return images, note, loss and seconds of the guess of least loss, which the attack itself measures."""
    began, best = time.monotonic(), None
    for guess in attack.run(observation, generator(0, attack.name)):
        best = guess if best is None or guess.loss < best.loss else best
        if guess.done or time.monotonic() - began > seconds:
            break
    assert best is not None
    images = torch.zeros(0, *observation.model.shape) if best.images is None else best.images
    return images, best.note, best.loss, time.monotonic() - began


def case(
    attack: Attack[WeightsObservation], count: int, hidden: tuple[int, ...], dtype: str, seconds: float, control: bool
) -> Line:
    """Return one measured line: share at cosine 0.99 after the mean image is taken off, L2 errors, controls."""
    observation, images, outside = trained(count, hidden, dtype)
    found, note, loss, spent = attacked(attack, observation, seconds)
    offset = observation.model.offset.reshape(observation.model.shape).numpy()
    secret, other, guess = images.numpy() - offset, outside.numpy() - offset, found.numpy() - offset
    line: Line = {
        "share": share_similar(secret, guess),
        "outside": share_similar(other, guess),
        "worst": float(curve(secret, guess)[-1]) if len(guess) >= count else -1.0,
        "median": float(curve(secret, guess)[count // 2]) if len(guess) else -1.0,
        "nearest outside": float(curve(other, guess)[0]) if len(guess) else -1.0,
        "recovered": len(guess),
        "n": count,
        "loss": loss if loss < float("inf") else -1.0,
        "seconds": spent,
        "note": note,
    }
    if control:
        false, note, _, _ = attacked(attack, shuffled(observation), seconds)
        line |= {"shuffled": share_similar(secret, false.numpy() - offset), "shuffled note": note}
    return line


CASES: dict[str, Callable[[], Line]] = {
    f"span N={n} width={'-'.join(map(str, hidden))} {dtype}": (
        lambda n=n, hidden=hidden, dtype=dtype: case(ParameterSpan(), n, hidden, dtype, 120.0, control=n == 50)
    )
    for n, hidden, dtype in (
        (50, (4096,), "float32"),
        (100, (4096,), "float32"),
        (50, (1024, 4096), "float32"),
        (50, (4096,), "float64"),
        (20, (512,), "float32"),
    )
}
CASES["match N=20 width=512 float32"] = lambda: case(
    ParameterMatch(point=Point.START, count=20), 20, (512,), "float32", 100.0, control=False
)


def lines() -> dict[str, Line]:
    """Return what the log holds, by case."""
    if not LOG.exists():
        return {}
    return {line["case"]: line for line in map(json.loads, LOG.read_text(encoding="utf-8").splitlines())}


def measure(wanted: Iterator[str]) -> None:
    """Append one line per case; cases in the log are not measured again."""
    for name in wanted:
        if name not in lines():
            line = {"case": name, **CASES[name]()}
            with LOG.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)


def row(name: str, line: Line) -> Row:
    """Return the row of one case of the attacks on finite networks."""
    bar = 0.9 if name.startswith("span") else 0.0
    share = float(line["share"])
    worst = f"worst L2 error {line['worst']:.2g}" if float(line["worst"]) >= 0 else "fewer guesses than images"
    shuffle = f"; shuffled neurons give {line['shuffled']:.2f}" if "shuffled" in line else ""
    return Row(
        setting=f"CIFAR-10, linearised training, {name}: share of images at cosine >= 0.99",
        bar=f">= {bar:.2f} within 600 s" if bar else "reported",
        measured=share,
        unit="",
        holds=share >= bar and float(line["seconds"]) <= 600,
        control=float(line["outside"]),
        n=int(line["n"]),
        seconds=round(float(line["seconds"]), 2),
        command=COMMAND,
        reason=f"{line['note']}; {worst}{shuffle}; control: images outside the training set; "
        "one thread beside other work",
    )


def main() -> None:
    """Measure the cases named on the command line, or all, and save the rows of all that are in the log."""
    threads()
    measure(iter(sys.argv[1:] or CASES))
    save("parameters", [row(name, line) for name, line in lines().items() if name in CASES])


if __name__ == "__main__":
    main()
