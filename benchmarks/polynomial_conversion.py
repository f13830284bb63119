"""Pretrained models made polynomial: `python -m benchmarks.polynomial_conversion NAME STEP`.

NAME is `sst2` or `rotten-tomatoes`, STEP `tune` or `convert`; repeated, a call goes on where it stopped.
`python -m benchmarks.polynomial conversion` then judges both on the validation split, which chose nothing.
"""

import sys
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.harness import DATA
from benchmarks.polynomial_data import WORK
from unmask.poly.conversion.checkpoint import restore
from unmask.poly.conversion.data import Data, Part
from unmask.poly.conversion.intercept import Called, Converted
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan, convert
from unmask.poly.conversion.training import train
from unmask.victims import corpora, demo, hf

SETS = {"sst2": "sst2-sentences", "rotten-tomatoes": "rotten-tomatoes"}
TOKENS = 32
TUNE = Schedule(epochs=3, batch=32, learning_rate=1e-4, decay=0.01, warm_up=0.1, precision="bfloat16")
"""Fine-tuning with soft-max, of the head and of all layers; the embeddings stay as they are."""

POWER, BUDGET = 16, 200
PLAN = Plan(budget=BUDGET, margin=1.4)
"""No training after the fine-tuning: the twin is what was converted."""


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


def call(module: nn.Module, ids: Tensor) -> Tensor:
    """Return logits (B, 2) of token numbers (B, n)."""
    return cast(Tensor, module(input_ids=ids, attention_mask=(ids != 0).long()).logits)


def original(name: str) -> Called:
    """Return the tuned MiniLM with its soft-max: the twin of the polynomial one."""
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
    elif step == "convert":
        convert(polynomial(name, data), data, PLAN, folder / "converted", say=say)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
