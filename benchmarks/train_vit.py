"""Train the vision transformer that image attacks are measured on.

    python -m benchmarks.train_vit fashion-mnist   # the embedded demo: about 10 minutes on one core
    python -m benchmarks.train_vit cifar10

Resumable: a checkpoint is written after every epoch and a later call goes on from it. The log and the
weights, rounded to float16, go to `results/models/`; the demo's weights also into the package.
"""

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import DATA
from unmask.rng import generator
from unmask.victims import images
from unmask.victims.vit import Vit, VitShape, fresh
from unmask.vision import Images

RESULTS = Path(__file__).parent / "results" / "models"
HELD_OUT = 2000
"""Images of CIFAR-10's one file that are kept apart; Fashion-MNIST has its own 10,000."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model is trained: AdamW, one warm-up and a cosine down to zero, shifted and mirrored images."""

    name: str
    shape: VitShape
    epochs: int
    batch: int = field(default=128)
    learning_rate: float = field(default=2e-3)
    decay: float = field(default=0.05)
    warm_up: float = field(default=0.1)
    seed: int = field(default=0)


RECIPES = {
    "fashion-mnist": Recipe(name="fashion-mnist", shape=VitShape(mean=(0.2190,), deviation=(0.3318,)), epochs=4),
    "cifar10": Recipe(
        name="cifar10",
        shape=VitShape(
            channels=3, width=96, hidden=192, mean=(0.4914, 0.4822, 0.4465), deviation=(0.2470, 0.2435, 0.2616)
        ),
        epochs=4,
    ),
}


def split(name: str, shape: VitShape) -> tuple[Images, Images]:
    """Return training and held-out images in the model's form."""
    form = (shape.channels, shape.side, shape.side)
    if name == "fashion-mnist":
        parts = [images.load(DATA / name / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")]
        return images.fit(parts[0], form), images.fit(parts[1], form)
    every = images.fit(images.load(DATA / name), form)
    assert every.labels is not None
    cut = every.size - HELD_OUT
    return (
        Images(pixels=every.pixels[:cut], labels=every.labels[:cut]),
        Images(pixels=every.pixels[cut:], labels=every.labels[cut:]),
    )


def augmented(pixels: Tensor, draw: torch.Generator, reach: int = 2) -> Tensor:
    """Return a batch moved by up to `reach` pixels and mirrored half of the time, image by image."""
    down, across = (torch.randint(-reach, reach + 1, (len(pixels),), generator=draw) for _ in range(2))
    mirrored = torch.rand(len(pixels), generator=draw) < 0.5
    side = pixels.shape[-1]
    rows = (torch.arange(side)[None] + down[:, None]).clamp(0, side - 1)
    columns = (torch.arange(side)[None] + across[:, None]).clamp(0, side - 1)
    columns = torch.where(mirrored[:, None], side - 1 - columns, columns)
    index = torch.arange(len(pixels))[:, None, None, None]
    channel = torch.arange(pixels.shape[1])[None, :, None, None]
    return pixels[index, channel, rows[:, None, :, None], columns[:, None, None, :]]


@torch.no_grad()
def accuracy(model: Vit, held: Images) -> float:
    """Return the share of held-out images whose class is right."""
    assert held.labels is not None
    right = [
        (model(held.pixels[at : at + 500]).argmax(1) == held.labels[at : at + 500]).sum().item()
        for at in range(0, held.size, 500)
    ]
    return sum(right) / held.size


def train(recipe: Recipe) -> None:
    """Train to the end, from the last checkpoint if there is one, and write log and weights."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    checkpoint, log = RESULTS / f"{recipe.name}.checkpoint.safetensors", RESULTS / f"{recipe.name}.jsonl"
    data, held = split(recipe.name, recipe.shape)
    assert data.labels is not None
    model = fresh(recipe.shape, generator(recipe.seed, "vit"))
    adam = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.decay)
    done = resume(checkpoint, model, adam)
    steps = data.size // recipe.batch
    for epoch in range(done, recipe.epochs):
        draw, began, total = generator(recipe.seed, "epoch", epoch), time.monotonic(), 0.0
        order = torch.randperm(data.size, generator=draw)
        for step in range(steps):
            index = order[step * recipe.batch : (step + 1) * recipe.batch]
            share = (epoch * steps + step) / (recipe.epochs * steps)
            rate = min(1.0, share / recipe.warm_up) * (0.5 + 0.5 * math.cos(math.pi * share))
            adam.param_groups[0]["lr"] = recipe.learning_rate * rate
            loss = F.cross_entropy(model(augmented(data.pixels[index], draw)), data.labels[index])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item()
            if step % 50 == 0:
                print(
                    f"epoch {epoch} step {step}/{steps} loss {loss.item():.3f} {time.monotonic() - began:.0f} s",
                    flush=True,
                )
        line = {"epoch": epoch, "loss": total / steps, "accuracy": accuracy(model, held), "held_out": held.size}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "seconds": round(time.monotonic() - began, 1)}) + "\n")
        keep(checkpoint, model, adam, epoch + 1)
    finish(recipe, model, held)


def keep(path: Path, model: Vit, adam: torch.optim.AdamW, done: int) -> None:
    """Write weights and the optimiser's moments."""
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, parameter in enumerate(model.parameters()):
        state |= {f"adam.{index}.{name}": value for name, value in adam.state[parameter].items()}
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial, {"done": str(done)})
    partial.replace(path)


def resume(path: Path, model: Vit, adam: torch.optim.AdamW) -> int:
    """Read a checkpoint into both and return the number of epochs that are done."""
    if not path.exists():
        return 0
    state = load_file(path)
    model.load_state_dict({name.removeprefix("model."): t for name, t in state.items() if name.startswith("model.")})
    count = len(list(model.parameters()))
    own = adam.state_dict()
    own["state"] = {
        index: {name: state[f"adam.{index}.{name}"] for name in ("step", "exp_avg", "exp_avg_sq")}
        for index in range(count)
    }
    adam.load_state_dict(own)
    log = path.with_name(path.name.replace(".checkpoint.safetensors", ".jsonl"))
    return len(log.read_text(encoding="utf-8").splitlines())


def finish(recipe: Recipe, model: Vit, held: Images) -> None:
    """Write the weights as float16 and what they reach on held-out images after that."""
    narrow = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: tensor.float() for name, tensor in narrow.items()})
    final = accuracy(model, held)
    shape = json.dumps(asdict(recipe.shape))
    save_file(narrow, RESULTS / f"{recipe.name}.safetensors", {"shape": shape, "accuracy": f"{final:.4f}"})
    print(f"{recipe.name}: held-out accuracy {final:.4f} of {held.size}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(RECIPES[sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist"])
