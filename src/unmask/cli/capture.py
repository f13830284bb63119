"""`unmask capture`: write what an adversary would see of a text to a file."""

from pathlib import Path
from typing import Annotated

import typer

from unmask import api
from unmask.auditor.single import sentences
from unmask.cli import console, options
from unmask.cli.options import Known
from unmask.cli.request import sentences_of
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surfaces import gradient_file
from unmask.surfaces.gradient import GradientSurface
from unmask.surfaces.selector import ALL
from unmask.victim import Victim
from unmask.victims.corpora import Example
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets


def command(
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    text: Annotated[list[str] | None, typer.Option(help="A sentence of the batch; may be repeated.")] = None,
    texts: options.Texts = None,
    label: Annotated[int, typer.Option(help="Class of the sentences of --text.")] = 0,
    select: Annotated[str, typer.Option(help="Tensors to write; see `unmask audit --help`.")] = ALL,
    model: options.Model = None,
    task: options.Task = "auto",
    online: options.Online = False,
    labels: options.Labels = Known.UNKNOWN,
    lengths: options.Lengths = Known.UNKNOWN,
    dropout: options.Dropout = False,
    dtype: options.Dtype = "float32",
    noise: options.Noise = 0.0,
    clip: options.Clip = None,
    prune: options.Prune = 0.0,
    local_steps: options.LocalSteps = 1,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
) -> None:
    """Write the gradient of one batch to a file, as `unmask audit --gradients` reads it."""
    if bool(text) == (texts is not None):
        raise BadInput("--text", text, "and --texts are both given or both missing", "give one of them")
    if texts is not None:
        examples = sentences_of(texts, None, seed)
    else:
        examples = tuple(Example(text=each, label=label, kind="given") for each in text or ())
    described = options.surface(
        labels=labels,
        lengths=lengths,
        dropout=dropout,
        dtype=dtype,
        noise=noise,
        clip=clip,
        prune=prune,
        local_steps=local_steps,
        learning_rate=learning_rate,
        select=select,
    )
    who = api.subject(model, task=task, seed=seed, online=online)
    (secret,) = secrets(examples, who.model, who.encode, batch=max(1, len(examples)), argument="--text")
    victim = Victim(model=who.model, mechanism=TorchMechanism(model=who.model), secret=secret)
    assert isinstance(described, GradientSurface)  # the default kind
    seen = described.observe(victim, generator(seed, "capture"))
    gradient_file.write(seen, out)
    for sentence in sentences(seen):
        console.note(sentence)
    print(out)
