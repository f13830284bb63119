"""One training run: AdamW, warm-up and cosine, penalties on ranges, distillation; resumable after each epoch."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import UnmaskError
from unmask.poly.conversion.checkpoint import keep, restore, resume
from unmask.poly.conversion.data import Data, judge, task_loss
from unmask.poly.conversion.ranges import POSITIVE, Penalty, watching
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.layers.activation import Activation
from unmask.poly.layers.norm import BatchNorm
from unmask.rng import generator

Say = Callable[[str], None]
Teacher = Callable[[Tensor], Tensor]
"""From stored inputs, augmented but not prepared, to the logits of the original."""


class RangeExploded(UnmaskError):
    """Training was stopped because what enters a site left every bound.

    Args:
        stage: which training.
        site: module path of the non-linearity.
        value: what was seen.
        checkpoint: the last good state.
    """

    def __init__(self, stage: str, site: str, value: float, checkpoint: Path) -> None:
        self.stage, self.site, self.value, self.checkpoint = stage, site, value, checkpoint

    def __str__(self) -> str:
        return (
            f"stage {self.stage!r} stopped: {self.site} received {self.value:.3g}; "
            f"the last good state is {str(self.checkpoint)!r}, "
            "go on from it with a lower learning rate or a higher penalty"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    model: nn.Module
    data: Data
    schedule: Schedule
    adam: torch.optim.AdamW
    stage: str
    checkpoint: Path
    penalty: Penalty | None
    teacher: Teacher | None
    say: Say


def train(
    model: nn.Module,
    data: Data,
    schedule: Schedule,
    folder: Path,
    stage: str,
    *,
    penalty: Penalty | None = None,
    teacher: Teacher | None = None,
    say: Say = lambda line: None,
) -> dict[str, float]:
    """Train a model in place and return its metric on the held-out part.

    `folder/STAGE.safetensors` holds the state after each epoch; a second call goes on from it, and returns at
    once if the stage is done. Each epoch adds a line to `folder/log.jsonl`.

    Args:
        model: what is trained.
        data: what it is trained and judged on.
        schedule: how long and how fast.
        folder: of the checkpoints.
        stage: its name.
        penalty: on the ranges, from nothing at the start to its weight after a fifth of the run.
        teacher: the original model, if `schedule.distil` is positive.
        say: gets a line now and then.

    Raises:
        RangeExploded: if the loss is no number or a site receives more than the limit.
    """
    checkpoint = folder / f"{stage}.safetensors"
    adam = optimiser(model, schedule)
    done = 0
    if checkpoint.exists():
        done, moments = restore(checkpoint, model)
        adam = optimiser(model, schedule)
        resume(adam, moments)
    run = _Run(
        model=model,
        data=data,
        schedule=schedule,
        adam=adam,
        stage=stage,
        checkpoint=checkpoint,
        penalty=penalty,
        teacher=teacher,
        say=say,
    )
    for epoch in range(done, schedule.epochs):
        began = time.monotonic()
        loss = _epoch(run, epoch)
        metric = judge(model, data, data.held)
        if not math.isfinite(metric["loss"]):
            raise RangeExploded(stage, *_outside(model, data), _last_good(checkpoint))
        keep(checkpoint, model, adam, epoch + 1)
        seconds = round(time.monotonic() - began, 1)
        line = json.dumps({"stage": stage, "epoch": epoch + 1, "train_loss": loss, **metric, "seconds": seconds})
        say(line)
        with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    return judge(model, data, data.held)


def _epoch(run: _Run, epoch: int) -> float:
    # One pass over the training part; its mean loss.
    data, schedule = run.data, run.schedule
    draw, began, total = generator(schedule.seed, run.stage, epoch), time.monotonic(), 0.0
    steps = max(len(data.train.inputs) // schedule.batch, 1)
    order = torch.randperm(len(data.train.inputs), generator=draw)
    run.model.train()
    for step, (x, y) in enumerate(data.train.batches(schedule.batch, order)):
        share = (epoch * steps + step) / (schedule.epochs * steps)
        if share >= 1.0 - schedule.frozen:
            _freeze(run.model)
        for group in run.adam.param_groups:
            group["lr"] = schedule.rate(share)
        spot = _step(run, x if data.augment is None else data.augment(x, draw), y, min(1.0, 5.0 * share))
        total += spot
        if step % 200 == 0:
            spent = time.monotonic() - began
            run.say(f"{run.stage} {epoch + 1}/{schedule.epochs} {step}/{steps} loss {spot:.3f} {spent:.0f} s")
    return total / steps


def _step(run: _Run, x: Tensor, y: Tensor, ramp: float) -> float:
    wanted = _wanted(run.teacher, x, run.schedule) if run.schedule.distil else None
    loss, worst = _loss(run.model, run.data.prepare(x), y, run.schedule, run.penalty, wanted, ramp)
    value = float(loss.detach())
    if not math.isfinite(value) or worst[1] > run.schedule.limit:
        raise RangeExploded(run.stage, worst[0], worst[1], _last_good(run.checkpoint))
    run.adam.zero_grad()
    loss.backward()
    if not math.isfinite(float(nn.utils.clip_grad_norm_(run.model.parameters(), 1.0))):
        raise RangeExploded(run.stage, *worst, _last_good(run.checkpoint))
    run.adam.step()
    return value


def optimiser(model: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """Return AdamW over two groups, of which only the first, the maps, decays.

    Args:
        model: whose parameters.
        schedule: rate and decay.
    """
    maps = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": maps, "weight_decay": schedule.decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, foreach=True)


def _freeze(model: nn.Module) -> None:
    for child in model.modules():
        if isinstance(child, BatchNorm):
            child.eval()


def _loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    schedule: Schedule,
    penalty: Penalty | None,
    wanted: Tensor | None,
    ramp: float,
) -> tuple[Tensor, tuple[str, float]]:
    with watching(model, poles=penalty is not None) as seen, _narrow(schedule):
        logits = model(x)
    logits = logits.float()
    loss = task_loss(logits, y, schedule.smoothing)
    if wanted is not None:
        given, wanted = ((each / schedule.temperature).flatten(0, -2).log_softmax(-1) for each in (logits, wanted))
        distance = F.kl_div(given, wanted, reduction="batchmean", log_target=True) * schedule.temperature**2
        loss = (1.0 - schedule.distil) * loss + schedule.distil * distance
    if penalty is not None:
        loss = loss + ramp * penalty(seen)
    return loss, _worst(seen)


def _last_good(checkpoint: Path) -> Path:
    # That of the stage before, if this one has not finished an epoch.
    kept = sorted(checkpoint.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    return checkpoint if checkpoint.exists() or not kept else kept[-1]


@torch.no_grad()
def _outside(model: nn.Module, data: Data) -> tuple[str, float]:
    # The first site on held-out inputs that received no number, else the largest.
    model.eval()
    worst = ("the loss", math.inf)
    for x, _ in data.held.batches(500):
        with watching(model) as seen:
            model(data.prepare(x))
        sizes = {name: float(value.abs().max()) for name, (_, value) in seen.items()}
        broken = next(((name, size) for name, size in sizes.items() if not math.isfinite(size)), None)
        worst = broken or max(sizes.items(), key=lambda each: each[1], default=worst)
        if broken:
            return broken
    return worst


@torch.no_grad()
def _wanted(teacher: Teacher | None, x: Tensor, schedule: Schedule) -> Tensor | None:
    with _narrow(schedule):
        return None if teacher is None else teacher(x).float()


def _narrow(schedule: Schedule) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bfloat16")


def _worst(seen: dict[str, tuple[Activation, Tensor]]) -> tuple[str, float]:
    worst = ("the loss", 0.0)
    for name, (site, value) in seen.items():
        if site.function in POSITIVE:
            continue
        low, high = (float(end) for end in value.detach().aminmax())
        size = max(abs(low), abs(high))
        if not math.isfinite(size):
            return name, math.inf
        worst = (name, size) if size > worst[1] else worst
    return worst
