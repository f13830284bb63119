"""`unmask delta`: what a fine-tuning changed, as a file that `unmask audit --gradients` reads."""

from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from unmask import api
from unmask.cli import console, options
from unmask.errors import BadInput
from unmask.observation import Knowledge
from unmask.surfaces import gradient_file
from unmask.surfaces.weight_delta import read_checkpoint, weight_delta


def command(
    after: Annotated[Path, typer.Option(help="Fine-tuned weights: a .safetensors file, or a model's folder.")],
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    model: options.Model = None,
    before: Annotated[Path | None, typer.Option(help="Weights before; default: those of --model.")] = None,
    task: options.Task = "auto",
    online: options.Online = False,
    batch: Annotated[int, typer.Option(help="Number of texts that were tuned on.")] = 1,
    local_steps: options.LocalSteps = 1,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
) -> None:
    """Write what a fine-tuning changed: after plain gradient descent the sum of its gradients."""
    options.at_least_one("--batch", batch)
    options.at_least_one("--local-steps", local_steps)
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise BadInput("--learning-rate", learning_rate, "is no positive step size", "give one, such as 0.01")
    who = api.subject(model, task=task, seed=seed, online=online)
    start: dict[str, Tensor] = dict(who.model.module.named_parameters())
    if before is not None:
        given = read_checkpoint(before, argument="--before")
        for name in set(given) & set(start):
            if given[name].shape != start[name].shape:
                rule = f"has {name} of {tuple(given[name].shape)} where the model has {tuple(start[name].shape)}"
                raise BadInput("--before", str(before), rule, "give weights of the same model")
        start |= {name: tensor for name, tensor in given.items() if name in start}
    knowledge = Knowledge(batch=batch, local_steps=local_steps, learning_rate=learning_rate)
    seen = weight_delta(who.model, start, read_checkpoint(after, argument="--after"), knowledge)
    gradient_file.write(seen, out)
    console.note(f"{len(seen.tensors)} tensors moved; attack them with: unmask audit --gradients {out}")
    print(out)
