"""Options that several commands share."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unmask.errors import BadInput
from unmask.surface import Release
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.answer import AnswerSurface
from unmask.surfaces.gradient import GradientSurface
from unmask.surfaces.published_weights import PublishedWeights
from unmask.surfaces.selector import ALL
from unmask.surfaces.store import StoreSurface

GRADIENT, ATTENTION, PARAMETERS, STORE, ANSWER = SURFACES = ("gradient", "attention", "parameters", "store", "answer")
"""Names of the surfaces that can be audited."""


Described = GradientSurface | ActivationSurface | PublishedWeights | StoreSurface | AnswerSurface


class Known(StrEnum):
    """Whether the adversary has a piece of knowledge."""

    KNOWN = "known"
    UNKNOWN = "unknown"


Model = Annotated[str | None, typer.Option(help="Model folder, or hub name with --online; default: embedded MiniLM.")]
Task = Annotated[str, typer.Option(help="auto, classification or causal-lm.")]
Online = Annotated[bool, typer.Option("--online", help="Let --model be fetched from the hub.")]
Texts = Annotated[Path | None, typer.Option(help="Private sentences: .txt, .jsonl or .csv.")]
Data = Annotated[Path | None, typer.Option(help="Private sentences: .parquet file or folder of them.")]
Batch = Annotated[int, typer.Option(help="Texts per gradient; 1 with --surface attention.")]
Labels = Annotated[Known, typer.Option(help="Whether the adversary knows the classes.")]
Lengths = Annotated[Known, typer.Option(help="Whether it knows the number of tokens.")]
Dropout = Annotated[bool, typer.Option("--dropout", help="The victim trains with dropout.")]
Dtype = Annotated[str, typer.Option(help="Number format of the release: float32, float16, bfloat16, int8.")]
Noise = Annotated[float, typer.Option(help="Norm of added Gaussian noise, relative to the norm of the release.")]
Clip = Annotated[float | None, typer.Option(help="Norm to which the release is clipped.")]
Prune = Annotated[float, typer.Option(help="Share of smallest entries set to zero.")]
LocalSteps = Annotated[int, typer.Option(help="Local training steps whose weight change is seen (FedAvg).")]
LearningRate = Annotated[float | None, typer.Option(help="Step size of the local steps.")]
Missing = Annotated[float, typer.Option(help="Share of the tokens whose activations are not seen.")]
Positions = Annotated[Known, typer.Option(help="Whether it is known which tokens those are.")]
Permuted = Annotated[bool, typer.Option("--permuted", help="Activations come in an unknown order of tokens.")]
Queries = Annotated[int | None, typer.Option(help="With --surface store: public queries that are asked; default 64.")]
Prompt = Annotated[str | None, typer.Option(help="With --surface answer: the public prompt, {} for the private text.")]
AnswerTokens = Annotated[int | None, typer.Option(help="With --surface answer: tokens of the answer; default 24.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]


def surface(
    *,
    labels: Known,
    lengths: Known,
    dropout: bool,
    dtype: str,
    noise: float,
    clip: float | None,
    prune: float,
    local_steps: int,
    learning_rate: float | None,
    select: str = ALL,
    kind: str = GRADIENT,
    missing: float = 0.0,
    positions: Known = Known.KNOWN,
    permuted: bool = False,
    queries: int | None = None,
    prompt: str | None = None,
    answer_tokens: int | None = None,
) -> Described:
    """Return the surface that the options describe.

    Args:
        labels: whether the classes are known.
        lengths: whether the numbers of tokens are known.
        dropout: whether dropout is on.
        dtype: number format of the release.
        noise: norm of the noise, relative to the norm of the release.
        clip: norm to which the release is clipped, or None.
        prune: share of smallest entries set to zero.
        local_steps: number of local steps.
        learning_rate: their step size.
        select: the tensors seen.
        kind: the surface's name.
        missing: share of the tokens whose rows are not seen.
        positions: whether it is known which.
        permuted: whether rows come in an unknown order.
        queries: queries to a store, or None for the default.
        prompt: public prompt of an answer, or None for the default.
        answer_tokens: tokens of an answer, or None for the default.

    Raises:
        BadInput: if the surface is unknown, a value is out of its range, or belongs to another surface.
    """
    if kind not in SURFACES:
        raise BadInput("--surface", kind, "cannot be audited", f"choose {', '.join(SURFACES)}")
    of_gradients = {
        "--labels": labels is Known.KNOWN,
        "--lengths": lengths is Known.KNOWN,
        "--dropout": dropout,
        "--local-steps": local_steps != 1,
        "--learning-rate": learning_rate is not None,
    }
    of_activations = {"--missing": missing != 0, "--positions": positions is Known.UNKNOWN, "--permuted": permuted}
    of_stores = {"--queries": queries is not None}
    of_answers = {"--prompt": prompt is not None, "--answer-tokens": answer_tokens is not None}
    own = {GRADIENT: of_gradients, ATTENTION: of_activations, STORE: of_stores, ANSWER: of_answers}.get(kind, {})
    every = of_gradients | of_activations | of_stores | of_answers
    foreign = {option: given for option, given in every.items() if option not in own}
    for option, given in foreign.items():
        if given:
            raise BadInput(option, "given", f"has no meaning on the {kind} surface", "leave it out")
    release = Release(dtype=dtype, noise=noise, clip=clip, prune=prune)
    if kind == PARAMETERS:
        return PublishedWeights(release=release)
    if kind == STORE:
        return StoreSurface(release=release) if queries is None else StoreSurface(queries=queries, release=release)
    if kind == ANSWER:
        plain = AnswerSurface(release=release)
        count = plain.tokens if answer_tokens is None else answer_tokens
        return replace(plain, prompt=plain.prompt if prompt is None else prompt, tokens=count)
    if kind == ATTENTION:
        return ActivationSurface(
            select=select,
            missing=missing,
            knows_positions=positions is Known.KNOWN,
            permuted=permuted,
            release=release,
        )
    return GradientSurface(
        select=select,
        local_steps=local_steps,
        learning_rate=learning_rate,
        dropout=dropout,
        knows_labels=labels is Known.KNOWN,
        knows_lengths=lengths is Known.KNOWN,
        release=release,
    )


def at_least_one(argument: str, value: int) -> int:
    """Return the value if it is at least 1.

    Args:
        argument: the option's name.
        value: its value.

    Raises:
        BadInput: if it is not.
    """
    if value < 1:
        raise BadInput(argument, value, "is below 1", "give at least 1")
    return value
