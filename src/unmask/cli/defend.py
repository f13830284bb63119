"""`unmask defend`: train a model privately and write it with its guarantee."""

import warnings
from pathlib import Path
from typing import Annotated

import torch
import typer

from unmask.cli import console, defences, options
from unmask.defences.training.loop import Progress
from unmask.defences.training.private_model import HEAD
from unmask.defend import Defended
from unmask.defend import defend as run
from unmask.errors import BadInput
from unmask.report import form

DEFENCE = (
    "dp-sgd:epsilon=3 finds the noise, dp-sgd:noise=1.0 says it; also clip= and delta=. Left out, the model is "
    "trained without privacy, for comparison."
)
TRAIN = "Parameters that move: all, or such as '-1.*+head' or 're:classifier'; fewer take less noise."
FROZEN = (
    "Train a linear head alone, on the mean of the frozen encoder's last states: the sensible choice where epsilon is "
    "small. It has settings of its own for what follows: 40 steps over all examples, size 0.03."
)


def command(
    data: Annotated[Path, typer.Option(help="Private examples: .csv, .jsonl, .parquet, with text and label.")],
    out: Annotated[Path, typer.Option(help="Folder of the defended model, which `unmask audit --model` takes.")],
    model: Annotated[str | None, typer.Argument(help="Model folder, or hub name; default: embedded MiniLM.")] = None,
    defence: Annotated[str | None, typer.Option(help=DEFENCE)] = None,
    test: Annotated[Path | None, typer.Option(help="Public examples on which accuracy is measured.")] = None,
    task: options.Task = "auto",
    online: options.Online = False,
    classes: Annotated[int, typer.Option(help="Classes of a new head, where the model has none.")] = 2,
    limit: Annotated[int | None, typer.Option(help="Number of examples to use, from the first.")] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help=FROZEN)] = False,
    epochs: Annotated[float | None, typer.Option(help="Expected number of times each example is drawn; 3.")] = None,
    batch: Annotated[int | None, typer.Option(help="Expected number of examples in a step; 64.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size of Adam; 0.001.")] = None,
    train: Annotated[str | None, typer.Option(help=TRAIN)] = None,
    physical_batch: Annotated[int | None, typer.Option(help="Examples with gradients in memory at once; 8.")] = None,
    dropout: Annotated[bool, typer.Option("--dropout", help="Train with dropout.")] = False,
    seed: Annotated[int | None, typer.Option(help="Repeatable draws; voids the guarantee.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --out.")] = False,
    json: options.Json = False,
) -> None:
    """Train a model so that no single example can be told from it, and state epsilon, in writing."""
    if threads is not None:
        torch.set_num_threads(options.at_least_one("--threads", threads))
    if limit is not None:
        options.at_least_one("--limit", limit)
    if not data.exists():
        raise BadInput("--data", str(data), "is not there", "check the path")
    given = {
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "train": train,
        "physical": physical_batch,
        "dropout": dropout or None,
        "seed": seed,
    }
    guard = None if defence is None else defences.parse(defence)
    with warnings.catch_warnings(record=True) as caught, console.steps("training") as bar:
        warnings.simplefilter("always", UserWarning)

        def show(now: Progress) -> None:
            bar(now.step, now.steps)

        try:
            done = run(
                model,
                data,
                out=out,
                defence=guard,
                training={key: value for key, value in given.items() if value is not None},
                frozen=frozen,
                held=test,
                limit=limit,
                classes=classes,
                task=task,
                online=online,
                resume=resume,
                progress=show,
            )
        except KeyboardInterrupt:
            console.note(f"unmask: stopped; go on with --out {out} --resume")
            raise typer.Exit(130) from None
    for text in dict.fromkeys(str(one.message) for one in caught if "1/N" in str(one.message)):
        console.note(f"unmask: {text}")
    _shown(done, json=json)


def _shown(done: Defended, *, json: bool) -> None:
    found = done.found
    if json:
        console.emit({"model": str(done.path), **found.described()})
        return
    print(f"Guarantee: {found.guarantee}")
    for check in found.checks:
        print(f"  {check}")
    for name, value in found.measured.items():
        print(f"{name.capitalize()} on --test: {value:.3f}")
    print(f"{found.facts['steps']:g} steps over {form.count(int(found.facts['examples']))} examples")
    print(f"Model: {done.path} (guarantee in {HEAD})")
