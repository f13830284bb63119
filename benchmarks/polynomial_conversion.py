"""Pretrained models made polynomial: `python -m benchmarks.polynomial_conversion NAME STEP`.

NAME is `sst2` or `rotten-tomatoes`, STEP `tune`, `more` or `convert`; repeated, a call goes on where it stopped.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.harness import DATA
from benchmarks.polynomial_data import WORK
from unmask.poly.conversion.checkpoint import restore
from unmask.poly.conversion.data import Data, Part
from unmask.poly.conversion.intercept import Called, Converted
from unmask.poly.conversion.ranges import Penalty
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan, convert
from unmask.poly.conversion.training import train
from unmask.victims import corpora, demo, hf

SETS = {"sst2": "sst2-sentences", "rotten-tomatoes": "rotten-tomatoes"}
TOKENS = 32
TUNE = Schedule(epochs=3, batch=32, learning_rate=1e-4, decay=0.01, warm_up=0.1)
"""Fine-tuning with soft-max, of the head and of all layers; the embeddings stay as they are."""

SHARE = 3200
RANGED = replace(TUNE, epochs=1, batch=16, learning_rate=1e-4)
TUNED = replace(TUNE, epochs=1, batch=16, learning_rate=2e-5)
MORE = replace(TUNE, epochs=RANGED.epochs + TUNED.epochs, batch=16, learning_rate=5e-5)
"""The conversion, and what its soft-max twin trains meanwhile, see the first 3,200 training sentences."""
POWER, BUDGET = 8, 170
PLAN = Plan(
    ranged=RANGED,
    tuned=TUNED,
    budget=BUDGET,
    margin=1.4,
    penalty=Penalty(weight=0.02, ceiling=5.0, variance_weight=0.1, variance_floor=0.25, variance_ceiling=10.0),
)


def load(name: str) -> tuple[hf.Loaded, Data, Part]:
    """Return MiniLM with a new head, the sentences (a tenth of training held out), and the validation split."""
    loaded = hf.load(str(demo.directory()), task="classification", classes=2)
    pad = loaded.model.vocabulary.pad or 0
    parts = []
    for part in ("train", "validation"):
        examples = corpora.from_parquet(DATA / SETS[name] / f"{part}.parquet")
        rows = [list(loaded.encode(example.text))[:TOKENS] for example in examples]
        ids = torch.tensor([row + [pad] * (TOKENS - len(row)) for row in rows])
        parts.append(Part(inputs=ids, targets=torch.tensor([example.label for example in examples])))
    order = torch.randperm(len(parts[0].inputs), generator=torch.Generator().manual_seed(0))
    cut = len(order) // 10
    held, rest = order[:cut], order[cut:]
    data = Data(
        train=Part(inputs=parts[0].inputs[rest], targets=parts[0].targets[rest]),
        held=Part(inputs=parts[0].inputs[held], targets=parts[0].targets[held]),
    )
    for parameter in loaded.model.module.base_model.embeddings.parameters():  # type: ignore[union-attr]
        parameter.requires_grad_(False)
    return loaded, data, parts[1]


def call(module: nn.Module, ids: Tensor, *, half: bool = True) -> Tensor:
    """Return logits (B, 2) of token numbers (B, n); in training most products are bfloat16."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half and module.training):
        logits: Tensor = module(input_ids=ids, attention_mask=(ids != 0).long()).logits
    return logits.float()


def original(name: str) -> Called:
    """Return the tuned MiniLM with soft-max, a row's twin before it goes on."""
    found = Called(load(name)[0].model.module, call)
    restore(folder_of(name) / "original.safetensors", found)
    return found.eval()


def folder_of(name: str) -> Path:
    """Return where the stages of a model lie."""
    return WORK / f"minilm-{name}"


def polynomial(name: str, data: Data) -> Converted:
    """Return the tuned MiniLM with sites, before any training."""
    module = original(name).module
    return Converted(module, call, data.train.inputs[:64], client="bert.embeddings", power=POWER)


def main(name: str, step: str) -> None:
    """Run one step for one set of sentences."""
    loaded, data, _ = load(name)
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    say = partial(print, flush=True)
    if step == "tune":
        train(Called(loaded.model.module, call), data, TUNE, folder, "original", say=say)
        return
    part = Part(inputs=data.train.inputs[:SHARE], targets=data.train.targets[:SHARE])
    data = replace(data, train=part)
    if step == "more":
        train(original(name), data, MORE, folder, "more", say=say)
    elif step == "convert":
        convert(polynomial(name, data), data, PLAN, folder / "converted", say=say)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
