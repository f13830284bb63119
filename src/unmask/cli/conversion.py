"""What `unmask poly convert` does."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from unmask.cli.console import emit, note
from unmask.cli.conversion_inputs import Pictures, Sentences, read
from unmask.errors import BadInput
from unmask.poly.conversion.data import Data, judge
from unmask.poly.conversion.guard import guarded
from unmask.poly.conversion.intercept import Called, Converted
from unmask.poly.conversion.ranges import Penalty
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import REPORT, Plan, Stage, convert
from unmask.poly.conversion.training import Teacher, train
from unmask.poly.layers.activation import FUNCTIONS
from unmask.poly.layers.fold import fold
from unmask.poly.layers.transformer import Transformer
from unmask.poly.storage import save_network
from unmask.report import conversion_page
from unmask.rng import generator
from unmask.victims.polynomial import Original, from_bert, from_vit
from unmask.victims.vit import Vit

ATTENTION = ("power", "scaled")
RATES = {"power": 1e-4, "scaled": 1e-3}
EPOCHS = {"power": "1,1,2", "scaled": "3,2,5"}
EXAMPLES, POWER, MARGIN = 64, 16, 1.4


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options; see there.

    Args:
        model: `vit-demo`, a `.safetensors` file, or a directory.
        data: labelled images or sentences.
        out: folder of everything that is written.
        attention: one of `ATTENTION`.
        depth_budget: levels, or None for degrees that do not depend on a budget.
        fine_tune: epochs of the original before.
        epochs: three numbers, or None.
        batch: inputs per step.
        learning_rate: its peak, or None.
        ceiling: of the range penalty.
        distil: share of the loss.
        tokens: of a sentence.
        limit: how many inputs, or None.
        half: whether training multiplies in bfloat16.
        refreshed: levels after a bootstrap.
        seed: of everything drawn.
        json: whether to print JSON.
    """

    model: str
    data: Path
    out: Path
    attention: str
    depth_budget: int | None
    fine_tune: int
    epochs: str | None
    batch: int
    learning_rate: float | None
    ceiling: float
    distil: float
    tokens: int
    limit: int | None
    half: bool
    refreshed: int
    seed: int
    json: bool

    def __post_init__(self) -> None:
        if self.attention not in ATTENTION:
            raise BadInput("--attention", self.attention, "is unknown", f"name one of: {', '.join(ATTENTION)}")
        if self.refreshed < 1:
            raise BadInput("--refreshed", self.refreshed, "is not positive", "give the levels after a bootstrap")

    def schedule(self, count: int) -> Schedule | None:
        """Return a run of so many epochs; None for none.

        Args:
            count: of epochs.
        """
        if not count:
            return None
        return Schedule(
            epochs=count,
            batch=self.batch,
            learning_rate=self.learning_rate or RATES[self.attention],
            distil=self.distil,
            frozen=0.3,
            seed=self.seed,
            precision="bfloat16" if self.half else "float32",
        )

    def plan(self) -> Plan:
        """Return the stages."""
        replaced, ranged, tuned = (self.schedule(count) for count in _epochs(self.epochs or EPOCHS[self.attention]))
        kept = self.attention == "power"
        degrees = dict.fromkeys(FUNCTIONS, 15 if kept else 2) | {"inverse": 31 if kept else 2}
        variance = {"variance_weight": 0.05, "variance_floor": 0.25, "variance_ceiling": 10.0} if kept else {}
        return Plan(
            degrees=degrees,
            replaced=replaced,
            ranged=ranged,
            tuned=tuned,
            penalty=Penalty(weight=0.02, ceiling=self.ceiling, **variance),
            margin=MARGIN if kept else 1.2,
            budget=self.depth_budget,
            settle=int(kept),
        )


def run(options: Options) -> None:
    """Convert a model and print what each stage left.

    Args:
        options: of the command.

    Raises:
        BadInput: if an option, the model or the data cannot be used.
    """
    plan = options.plan()
    given = read(options.model, options.data, options.limit, options.seed, options.tokens)
    began, model, data, teacher = _start(given, options)
    stages = convert(model, data, plan, options.out, teacher=teacher, say=note)
    guard = _guard(model, data)
    page = conversion_page.write(
        options.out / REPORT,
        options.out / "report.html",
        refreshed=options.refreshed,
        source=options.model,
        original=began,
        **guard,
    )
    written = _written(model, given, stages, options) | {"report": page}
    told = _cost(stages, options) | guard
    if options.json:
        report = {"original": began, "stages": [vars(stage) for stage in stages], "degrees": stages[-1].degrees}
        emit({**report, **told, **written})
        return
    print("stage         accuracy    loss  largest input  levels  seconds")
    print(f"{'original':<12}  {began['accuracy']:8.4f}  {began['loss']:6.3f}")
    for stage in stages:
        print(_line(stage))
    print(f"depth: {told['depth']} levels; at least {told['bootstraps']} bootstraps of {options.refreshed} levels each")
    print(
        f"inside every interval: {told['inside']:.2%} of held-out inputs; farthest {told['farthest']:.2f} of the half"
    )
    print("degrees: " + ", ".join(f"{path} {degree}" for path, degree in stages[-1].degrees.items()))
    for name, path in written.items():
        print(f"{name}: {path}")


def _cost(stages: tuple[Stage, ...], options: Options) -> dict[str, int | float]:
    depth = stages[-1].levels
    return {"depth": depth, "bootstraps": max(0, -(-depth // options.refreshed) - 1)}


def _guard(model: nn.Module, data: Data) -> dict[str, float]:
    passes = [guarded(model, data.prepare(x)).farthest for x, _ in data.held.batches(200)]
    farthest = torch.cat(passes)
    return {"inside": float((farthest <= 1).float().mean()), "farthest": float(farthest.max())}


def _line(stage: Stage) -> str:
    largest = max((max(-low, high) for low, high in stage.ranges.values()), default=0.0)
    levels = str(stage.levels) if stage.levels else ""
    metric = f"{stage.metric['accuracy']:8.4f}  {stage.metric['loss']:6.3f}"
    return f"{stage.name:<12}  {metric}  {largest:13.3g}  {levels:>6}  {stage.seconds:7.0f}"


def _epochs(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise BadInput("--epochs", text, "is not three numbers", "write such as 3,2,5; 0 leaves a stage out")
    return [int(part) for part in parts]


def _start(
    given: Pictures | Sentences, options: Options
) -> tuple[dict[str, float], Transformer | Converted, Data, Teacher]:
    # The original with its metric, first fine-tuned if that was asked for, and what it is converted from.
    pretrained = given.start()
    original, data = Called(pretrained.module, pretrained.call), Data(train=given.train, held=given.held)
    schedule = options.schedule(options.fine_tune)
    if schedule is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        train(original, data, replace(schedule, distil=0.0), options.out, "original", say=note)
    original.eval()
    began = judge(original, data, data.held)
    if options.attention == "scaled":
        rebuilt = _rebuilt(given, options)
        return began, rebuilt.model, replace(data, prepare=rebuilt.prepare), rebuilt.teacher
    example = given.train.inputs[:EXAMPLES]
    converted = Converted(
        original.module, pretrained.call, example, client=pretrained.client, power=POWER, centred=True
    )
    return began, converted, data, original


def _rebuilt(given: Pictures | Sentences, options: Options) -> Original:
    draw = generator(options.seed, "convert")
    if isinstance(given, Pictures):
        if not isinstance(given.model.module, Vit):
            rule = f"is a {type(given.model.module).__name__}, whose layers are not rebuilt"
            raise BadInput("MODEL", options.model, rule, "leave --attention scaled out")
        return from_vit(given.model.module, draw)
    if given.classes is None:
        raise BadInput(
            "MODEL", options.model, "is a language model, which is not rebuilt", "leave --attention scaled out"
        )
    module = given.loaded.model.module
    return from_bert(module, tokens=options.tokens, classes=given.classes, pad=given.pad, draw=draw)


def _written(
    model: nn.Module, given: Pictures | Sentences, stages: tuple[Stage, ...], options: Options
) -> dict[str, Path]:
    checkpoint = options.out / f"{stages[-1].name}.safetensors"
    if not isinstance(model, Transformer):
        return {"checkpoint": checkpoint}
    meta: dict[str, object] = {"held-out accuracy": stages[-1].metric["accuracy"], "depth": stages[-1].levels}
    meta["source"] = options.model
    if isinstance(given, Pictures):
        meta["input_range"] = [0.0, 1.0]  # pixels: a client may refuse what was never trained on
    save_network(fold(model, meta=meta), options.out / "network")
    return {"checkpoint": checkpoint, "network": options.out / "network"}
