"""Pretrained models made polynomial: `python -m benchmarks.polynomial_conversion NAME STEP`.

NAME is `sst2` or `rotten-tomatoes`, STEP `tune` or `convert`; repeated, a call goes on where it stopped.
`python -m benchmarks.polynomial conversion` then judges both on the validation split, which chose nothing.
"""

import json
import math
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks import smollm
from benchmarks.harness import DATA
from benchmarks.polynomial_data import WORK
from benchmarks.rows import RESULTS, Row
from unmask.poly.conversion.checkpoint import restore
from unmask.poly.conversion.data import Data, Part, judge, task_loss
from unmask.poly.conversion.guard import guarded
from unmask.poly.conversion.intercept import Called, Converted
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import REPORT, Plan, convert
from unmask.poly.conversion.training import train
from unmask.victims import corpora, demo, hf, pretrained

SETS = {"sst2": "sst2-sentences", "rotten-tomatoes": "rotten-tomatoes"}
TITLES = {"sst2": "SST-2", "rotten-tomatoes": "Rotten Tomatoes"}
COMMAND, MODELS = "python -m benchmarks.polynomial_conversion", RESULTS / "models"
TOKENS = 32
TUNE = Schedule(epochs=3, batch=32, learning_rate=1e-4, decay=0.01, warm_up=0.1, precision="bfloat16")
"""Fine-tuning with soft-max, of the head and of all layers; the embeddings stay as they are."""

BEYOND = "beyond what training and held-out sentences reach with the polynomials in place"
POWER, BUDGET = 16, 220
PLAN = Plan(budget=BUDGET, margin=2.0, settle=1)
"""No training after the fine-tuning: the twin is what was converted."""

LOOKED = 1500
"""Training sentences, beside the held-out ones, that ranges are measured on."""


POWERS, WINDOWS, AHEAD, WINDOW = (16, 64), 8, 1, 512
"""For SmolLM2: powers, windows that are judged, windows that set the constants, tokens of one."""


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
    return WORK / (name if name == "smollm2" else f"minilm-{name}")


def polynomial(name: str, data: Data) -> Converted:
    """Return the tuned MiniLM with sites, before any training."""
    module = original(name).module
    return Converted(module, call, data.train.inputs[:64], client="bert.embeddings", power=POWER, centred=True)


def perplexities(powers: tuple[int, ...] = POWERS) -> dict[str, float]:
    """Return the perplexity of SmolLM2 on the WikiText validation split, with soft-max and with each power.

    Constants of the heads are set on windows that come after those that are judged.
    """
    loaded = hf.load(smollm.folder(), task="causal-lm")
    texts = [example.text for example in corpora.from_parquet(DATA / "wikitext" / "validation.parquet")]
    wanted = (WINDOWS + AHEAD) * (WINDOW + 1)
    stream: list[int] = []
    for text in texts:
        stream += loaded.encode(text)
        if len(stream) >= wanted:
            break
    windows = torch.tensor(stream[:wanted]).view(-1, WINDOW + 1)
    own = pretrained.sentences(loaded)
    found = {"soft-max": _perplexity(Called(own.module, own.call), windows[:WINDOWS])}
    print(found, flush=True)
    for power in powers:
        model = Converted(own.module, own.call, windows[WINDOWS:, :-1], client=own.client, power=power)
        found[str(power)] = _perplexity(model, windows[:WINDOWS])
        print(found, flush=True)
    return found


@torch.no_grad()
def _perplexity(model: nn.Module, windows: Tensor) -> float:
    model.eval()
    total = 0.0
    for window in windows.split(1):
        total += float(task_loss(model(window[:, :-1]), window[:, 1:]))
    return math.exp(total / len(windows))


def rows() -> list[Row]:
    """Judge every converted model that there is on its validation split, beside its twin."""
    found = [row for name in SETS if (folder_of(name) / "converted" / REPORT).exists() for row in _sentence_rows(name)]
    file = folder_of("smollm2") / "perplexity.json"
    return found + (_language_rows(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else [])


def _sentence_rows(name: str) -> list[Row]:
    torch.set_num_threads(1)
    began = time.monotonic()
    _, data, test = load(name)
    folder = folder_of(name) / "converted"
    MODELS.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / REPORT, MODELS / f"polynomial-minilm-{name}-stages.json")
    model = polynomial(name, data)
    stages = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    restore(folder / f"{stages[-1]['name']}.safetensors", model)
    passes = [guarded(model, x) for x in test.inputs.split(200)]
    right = torch.cat([each.logits for each in passes]).argmax(1) == test.targets
    farthest = torch.cat([each.farthest for each in passes])
    inside = farthest <= 1.0
    worst = max((max(each.by_site.values()), max(each.by_site, key=each.by_site.__getitem__)) for each in passes)[1]
    twin = judge(original(name), data, test)["accuracy"]
    held, levels = stages[-1]["metric"]["accuracy"], stages[-1]["levels"]
    gap, share = twin - float(right.float().mean()), float(inside.float().mean())
    setting = f"MiniLM tuned on {TITLES[name]}, {TOKENS} tokens, polynomial in {levels} levels without more training"
    common: dict[str, Any] = {
        "unit": "",
        "n": len(test.inputs),
        "seconds": round(time.monotonic() - began, 1),
        "command": f"{COMMAND} {name} tune; {COMMAND} {name} convert; python -m benchmarks.polynomial conversion",
    }
    return [
        Row(
            setting=f"{setting}: twin less polynomial",
            bar="<= 0.01",
            measured=round(gap, 6),
            holds=gap <= 0.01,
            control=f"{twin:.4f} twin; held-out {held:.4f} polynomial; always one class {_most(test):.4f}",
            reason="" if gap <= 0.01 else f"{round(gap * len(test.inputs))} of {len(test.inputs)} sentences, one seed",
            **common,
        ),
        Row(
            setting=f"{setting}: sentences that stay in every interval",
            bar="1",
            measured=round(share, 6),
            holds=share == 1.0,
            control=f"farthest input in half-intervals: median {float(farthest.median()):.4g}, most "
            f"{float(farthest.max()):.4g}, at {worst.removeprefix('module.bert.encoder.')}",
            reason="" if share == 1.0 else BEYOND,
            **common,
        ),
    ]


def _most(test: Part) -> float:
    return float(test.targets.bincount().max()) / len(test.targets)


def _language_rows(told: dict[str, Any]) -> list[Row]:
    plain = told["perplexities"]["soft-max"]
    return [
        Row(
            setting=f"SmolLM2-135M (30 layers), soft-max to powers p = {power}, untrained, {WINDOW} tokens of context, "
            "WikiText validation: perplexity over the original's",
            bar="reported",
            measured=round(value / plain, 5),
            unit="x",
            holds=True,
            control=f"{value:.4g} with powers, {plain:.4g} with soft-max",
            n=told["tokens"],
            seconds=told["seconds"],
            command=f"{COMMAND} smollm2 run",
        )
        for power, value in told["perplexities"].items()
        if power != "soft-max"
    ]


def main(name: str, step: str) -> None:
    """Run one step for one set of sentences."""
    if name == "smollm2":
        folder_of(name).mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        found = perplexities()
        told = {"perplexities": found, "tokens": WINDOWS * WINDOW, "seconds": round(time.monotonic() - began, 1)}
        (folder_of(name) / "perplexity.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        return
    loaded, data, _ = load(name)
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    say = partial(print, flush=True)
    if step == "tune":
        train(Called(loaded.model.module, call), data, TUNE, folder, "original", say=say)
    elif step == "convert":
        seen = replace(data, train=Part(inputs=data.train.inputs[:LOOKED], targets=data.train.targets[:LOOKED]))
        convert(polynomial(name, data), seen, PLAN, folder / "converted", say=say)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
