"""`unmask poly convert`: a trained transformer becomes a polynomial one, stage by stage."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[
        str, typer.Argument(help="vit-demo, a .safetensors file of this project, or a Hugging Face directory.")
    ],
    data: Annotated[Path, typer.Option(help="Labelled images or sentences; a tenth is held out.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and network; call again to go on.")],
    attention: Annotated[
        str, typer.Option(help="power keeps the model's own layers; scaled rebuilds it as a network to encrypt.")
    ] = "power",
    depth_budget: Annotated[
        int | None, typer.Option(help="Levels from ciphertext to logits; degrees are chosen within it.")
    ] = None,
    fine_tune: Annotated[int, typer.Option(help="Epochs of the original before, such as of a new head.")] = 0,
    epochs: Annotated[
        str | None, typer.Option(help="Epochs with the functions, with range penalty, as polynomials.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Inputs per step.")] = 32,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the learning rate.")] = None,
    ceiling: Annotated[float, typer.Option(help="Largest input of a non-linearity that costs nothing.")] = 5.0,
    distil: Annotated[float, typer.Option(help="Share of the loss that is the original's logits.")] = 0.5,
    tokens: Annotated[int, typer.Option(help="Sentences: tokens, padding included.")] = 32,
    limit: Annotated[int | None, typer.Option(help="Use only so many inputs.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Multiply matrices in bfloat16 while training.")] = False,
    refreshed: Annotated[int, typer.Option(help="Levels after a bootstrap, to count them.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of order, augmentation and new weights.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")] = False,
) -> None:
    """Replace, train in range, substitute, train again as polynomials, distil; say what every stage costs."""
    # Only this command of its group needs torch, so that it is imported here and the others start at once.
    conversion = import_module("unmask.cli.conversion")
    conversion.run(
        conversion.Options(
            model=model,
            data=data,
            out=out,
            attention=attention,
            depth_budget=depth_budget,
            fine_tune=fine_tune,
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            ceiling=ceiling,
            distil=distil,
            tokens=tokens,
            limit=limit,
            half=half,
            refreshed=refreshed,
            seed=seed,
            json=json,
        )
    )
