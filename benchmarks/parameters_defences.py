"""Defences of published weights, attacked: `python -m benchmarks.parameters_defences [NAME ...]`, all by default.

Fashion-MNIST, odd against even classes. A pool of 2N images is split at random RUNS times: one half is
trained on under the defence, the other half stays out. Of every run the accuracy and the losses on the
pool are kept; the first ATTACKED runs are attacked too. The adversary knows the defence and adapts:
decay is undone by its public settings, a secret offset is estimated by the darkest value of every pixel.
"""

import sys
import time
from dataclasses import dataclass
from functools import cache, partial
from statistics import fmean

import torch
from torch import Tensor

from benchmarks import parts
from benchmarks.harness import threads
from benchmarks.parameters_infinite import distances
from benchmarks.parameters_ordinary import FOLDER, NEAR
from benchmarks.rows import Row
from unmask.attacks.weights.closed_neurons import ClosedNeurons
from unmask.defences.training_task import Published, Task, TrainingDefence
from unmask.defences.trainings import (
    DistilledTraining,
    DpDescent,
    EarlyStopping,
    SecretOffset,
    SecretStart,
    Undefended,
    WeightDecay,
    WeightNoise,
)
from unmask.distill.inducing import Method
from unmask.metrics.membership import auc, likelihood_ratio
from unmask.rng import generator
from unmask.settings import to_json
from unmask.surfaces.parameters import ParameterSurface
from unmask.victims.images import load
from unmask.victims.mlp import Descent, initial, targets
from unmask.weights import PublicMLP

COMMAND = "python -m benchmarks.parameters_defences"
COUNT, RUNS, ATTACKED, TESTED, LIMIT = 20, 16, 3, 4000, 20.0
SEED = 301
"""Not looked at while settings were chosen."""
MODEL = PublicMLP(shape=(1, 28, 28), hidden=(1024,))
DESCENT = Descent(learning_rate=1e-3, steps=600, loss=1e-4)
DEFENCES: dict[str, TrainingDefence] = {
    "none": Undefended(),
    "early-stopping": EarlyStopping(loss=0.1),
    "weight-decay": WeightDecay(decay=0.05),
    "weight-noise": WeightNoise(noise=0.1),
    "weight-noise-1": WeightNoise(noise=1.0),
    "secret-start": SecretStart(),
    "secret-offset": SecretOffset(),
    "dp-sgd": DpDescent(),
    "distillation": DistilledTraining(count=4),
    "distillation-rkip": DistilledTraining(count=4, method=Method.RKIP, learn_labels=True),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Images (2N, D) with targets, and public test images."""

    inputs: Tensor
    wanted: Tensor
    fresh: Tensor
    right: Tensor


def pool(count: int, seed: int) -> Pool:
    """Draw 2 `count` images and the test images."""
    private = load(FOLDER / "train-images-idx3-ubyte.gz", 2 * count, seed)
    public = load(FOLDER / "t10k-images-idx3-ubyte.gz", TESTED, seed)
    assert private.labels is not None and public.labels is not None
    return Pool(
        inputs=private.pixels.flatten(1),
        wanted=targets(private.labels % 2, 2).float(),
        fresh=public.pixels.flatten(1),
        right=targets(public.labels % 2, 2) > 0,
    )


def trained(defence: TrainingDefence, here: Pool, run: int, seed: int) -> tuple[Published, Tensor]:
    """Train on a random half under a defence; return what is published and who was in."""
    noise = generator(seed, "split", run)
    inside = torch.zeros(len(here.inputs), dtype=torch.bool)
    inside[torch.randperm(len(inside), generator=noise)[: len(inside) // 2]] = True
    start = initial(MODEL, noise, torch.float32)
    task = Task(model=MODEL, start=start, inputs=here.inputs[inside], wanted=here.wanted[inside], descent=DESCENT)
    return defence.train(task, generator(seed, defence.name, run)), inside


def attacked(given: Published, run: int, seed: int) -> tuple[Tensor, str]:
    """Return images (M, D) that the adapted attack reads from the published weights, and its note."""
    shrunk = {name: given.shrunk * tensor for name, tensor in given.start.items()}
    count = COUNT if given.taught is None else len(given.taught)
    surface, noise = ParameterSurface(knows_count=True), generator(seed, "publish", run)
    seen = surface.observe(MODEL, shrunk, given.final, noise, count=count)
    began, found, note, attack = time.monotonic(), torch.zeros(0, *MODEL.shape), "", ClosedNeurons()
    for guess in attack.run(seen, generator(seed, attack.name, run)):
        found, note = found if guess.images is None else guess.images, guess.note
        if guess.done or time.monotonic() - began > LIMIT:
            break
    images = found.flatten(1).double()
    if given.hidden is not None and len(images):
        # Clothes lie on black, so the darkest value of a pixel is that of the secret image.
        images = (2 * (images - images.amin(0))).clamp(0, 1)
    return images, note


def near(secret: Tensor, guess: Tensor) -> tuple[float, float]:
    """Return the share of images within `NEAR` of a guess, one to one, and the least distance (-1 without a guess)."""
    if not len(guess):
        return 0.0, -1.0
    found = distances(secret.double(), guess)
    return float((found < NEAR).double().mean()), float(found[found.isfinite()].min())


@cache
def measure(name: str, count: int = COUNT, seed: int = SEED) -> dict[str, float | str]:
    """Return accuracy, membership and reconstruction of one defence, means over runs."""
    here, defence = pool(count, seed), DEFENCES[name]
    accuracy, members, margins, shares, others, closest, notes, copied = [], [], [], [], [], [], [], []
    for run in range(RUNS):
        given, inside = trained(defence, here, run, seed)
        accuracy.append(float(((given.outputs(MODEL, here.fresh) > 0) == here.right).double().mean()))
        members.append(inside)
        margins.append((given.outputs(MODEL, here.inputs) * here.wanted)[:, 0].double())
        if run < ATTACKED:
            found, note = attacked(given, run, seed)
            if given.taught is not None:
                copied.append(near(given.taught, found)[0])
                # Nobody can read more from these weights than what was trained on, so a perfect attack is granted.
                found = given.taught.double()
            share, nearest = near(here.inputs[inside], found)
            shares.append(share)
            others.append(near(here.inputs[~inside], found)[0])
            closest.append(nearest)
            notes.append(note)
    inside, margin = torch.stack(members).numpy(), torch.stack(margins).numpy()
    return {
        "accuracy": 100 * fmean(accuracy),
        "loss_auc": auc(-abs(margin - 1), inside),
        "lira_auc": auc(likelihood_ratio(margin, inside), inside),
        "share": fmean(shares),
        "control": fmean(others),
        "nearest": min(closest),
        "taught": fmean(copied) if copied else -1.0,
        "note": notes[0],
    }


def rows(name: str) -> list[Row]:
    """Return one row of a defence."""
    began = time.monotonic()
    plain = measure("none")
    found = plain if name == "none" else measure(name)
    guarantee = str(DEFENCES[name].guarantee())
    taught = (
        ""
        if found["taught"] == -1.0
        else "; the guesses are the distilled images themselves, as a perfect attack reads them (the real one read "
        f"{found['taught']:.2f} of them)"
    )
    lost = plain["accuracy"] - found["accuracy"]  # type: ignore[operator]
    asked = found["taught"] != -1.0
    held = not asked or found["share"] <= found["control"]  # type: ignore[operator]
    why = "" if held else "; RKIP is the reconstruction loss itself, so some of its images are the private ones"
    return [
        Row(
            setting=f"Fashion-MNIST, odd against even, N = {COUNT}, hidden width 1024, {described(name)}: share of "
            f"originals within L2 {NEAR:g} of a guess",
            bar="no higher than the control" if asked else "reported",
            measured=found["share"],
            unit="",
            holds=held,
            control=found["control"],
            n=ATTACKED,
            seconds=round(time.monotonic() - began, 1),
            command=COMMAND,
            reason=f"test accuracy {found['accuracy']:.1f} % ({lost:.1f} points lost); membership AUC "
            f"{found['loss_auc']:.2f} by loss, {found['lira_auc']:.2f} by likelihood ratio ({RUNS} trainings, chance "
            f"0.5){taught}; nearest guess {found['nearest']:.2g}; {found['note']}; guarantee: {guarantee}; control: as "
            f"many images that were not in training; one thread on a machine shared with other work{why}",
        )
    ]


def described(name: str) -> str:
    """Return a defence with its settings."""
    given = ", ".join(f"{key} {value}" for key, value in to_json(DEFENCES[name]).items())
    return f"{DEFENCES[name].name} ({given})" if given else DEFENCES[name].name


if __name__ == "__main__":
    threads()
    sys.exit(parts.run("parameters", {name: partial(rows, name) for name in DEFENCES}, sys.argv[1:]))
