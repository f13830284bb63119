"""`unmask poly convert`: a trained transformer becomes a polynomial one, stage by stage."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[str, typer.Argument(help="vit-demo, a .safetensors file of this project, or a BERT directory.")],
    data: Annotated[Path, typer.Option(help="Labelled images or sentences; the last tenth is held out.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and network; call again to go on.")],
    depth_budget: Annotated[int | None, typer.Option(help="Levels of a ciphertext; without it degree 2.")] = None,
    epochs: Annotated[
        str, typer.Option(help="Epochs with the functions, with range penalty, as polynomials.")
    ] = "3,2,5",
    batch: Annotated[int, typer.Option(help="Inputs per step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of the learning rate.")] = 1e-3,
    ceiling: Annotated[float, typer.Option(help="Largest input of a non-linearity that costs nothing.")] = 5.0,
    distil: Annotated[float, typer.Option(help="Share of the loss that is the original's logits.")] = 0.5,
    tokens: Annotated[int, typer.Option(help="Sentences: tokens, padding included.")] = 32,
    limit: Annotated[int | None, typer.Option(help="Use only so many inputs.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of order, augmentation and new weights.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")] = False,
) -> None:
    """Replace, train in range, substitute, train again as polynomials, distil; write a network to encrypt."""
    # Only this command of its group needs torch, so that it is imported here and the others start at once.
    import_module("unmask.cli.conversion").run(
        model=model,
        data=data,
        out=out,
        depth_budget=depth_budget,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        ceiling=ceiling,
        distil=distil,
        tokens=tokens,
        limit=limit,
        seed=seed,
        json=json,
    )
