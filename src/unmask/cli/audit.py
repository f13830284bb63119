"""`unmask audit`: attack what a model's surface shows and write a report."""

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from unmask import api
from unmask.auditor import defaults
from unmask.auditor.loop import run
from unmask.auditor.plan import Plan
from unmask.cli import console, defences, finish, image_request, options, weights_request
from unmask.cli.options import Known
from unmask.cli.request import Request, plan
from unmask.errors import BadInput

SURFACE = (
    "What the adversary sees: gradient (default, unless a defence fits another), attention (activations of one "
    "forward pass), store (answers to queries over a text's keys and values), answer (what a causal model writes on a "
    "prompt with the text in it), or parameters (weights before and after training on images)."
)
IMAGES = (
    "Private images: a folder of pictures or of .parquet files, or an idx file; with --model vit-demo, a .safetensors "
    "file of this project, or a folder of a vision transformer."
)
PUBLIC = (
    "Public images of the kind that the model was trained on, which the adversary holds too; the same forms. Attacks "
    "on deep layers begin at what they learn from them."
)
SELECT = (
    "Tensors seen, one cell per option: 0.query, 0.query+1.query, 'layer=0,3 component=key', re:PATTERN, all; "
    "grid (default) for each linear map alone, grid:0-2.* for some of them. With --surface attention: 0.heads.5, "
    "2.block, 3.hidden, 1.key+1.value, 0.probabilities; grid for each head and each other signal alone."
)


def command(
    model: options.Model = None,
    task: options.Task = "auto",
    online: options.Online = False,
    texts: options.Texts = None,
    data: options.Data = None,
    images: Annotated[Path | None, typer.Option(help=IMAGES)] = None,
    public_images: Annotated[Path | None, typer.Option(help=PUBLIC)] = None,
    limit: Annotated[int | None, typer.Option(help="Number of texts; default: two gradients' worth.")] = None,
    surface: Annotated[str | None, typer.Option(help=SURFACE)] = None,
    select: Annotated[list[str] | None, typer.Option(help=SELECT)] = None,
    weights_before: Annotated[Path | None, typer.Option(help="With --surface parameters: .safetensors file.")] = None,
    weights_after: Annotated[Path | None, typer.Option(help="The same network after training.")] = None,
    gradients: Annotated[Path | None, typer.Option(help="Attack a saved gradient instead.")] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Attack; may be repeated; see `unmask list`.")] = None,
    baseline: Annotated[bool, typer.Option(help="Compare with the published method.")] = True,
    baseline_cells: Annotated[int, typer.Option(help="in how many cells, spread over the grid.")] = 2,
    batch: options.Batch = 1,
    labels: options.Labels = Known.UNKNOWN,
    lengths: options.Lengths = Known.UNKNOWN,
    dropout: options.Dropout = False,
    dtype: options.Dtype = "float32",
    noise: options.Noise = 0.0,
    clip: options.Clip = None,
    prune: options.Prune = 0.0,
    local_steps: options.LocalSteps = 1,
    learning_rate: options.LearningRate = None,
    missing: options.Missing = 0.0,
    positions: options.Positions = Known.KNOWN,
    permuted: options.Permuted = False,
    queries: options.Queries = None,
    prompt: options.Prompt = None,
    answer_tokens: options.AnswerTokens = None,
    defence: defences.Option = None,
    budget: Annotated[str | None, typer.Option(help="Time for everything, such as 5m; default: no limit.")] = None,
    cell_seconds: Annotated[str, typer.Option(help="Time for one attack on one text or batch.")] = "60s",
    seed: options.Seed = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/<time>-<model>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    fail_on: Annotated[float | None, typer.Option(help="Exit 1 if a mean ROUGE-1 lies above this.")] = None,
    json: options.Json = False,
    show_private: Annotated[bool, typer.Option("--show-private", help="Do not mask texts.")] = False,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write the rows as CSV.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Attack what a model's gradients or activations show of private texts, part by part, and write a report."""
    if resume and out is None:
        raise BadInput("--resume", True, "does not say which run", "add --out with its folder")
    if threads is not None:
        torch.set_num_threads(options.at_least_one("--threads", threads))
    home, selected = defences.home(defence or ())
    kind = home if surface is None else surface
    seen = options.surface(
        kind=kind,
        labels=labels,
        lengths=lengths,
        dropout=dropout,
        dtype=dtype,
        noise=noise,
        clip=clip,
        prune=prune,
        local_steps=local_steps,
        learning_rate=learning_rate,
        missing=missing,
        positions=positions,
        permuted=permuted,
        queries=queries,
        prompt=prompt,
        answer_tokens=answer_tokens,
    )
    request = Request(
        model=model,
        task=task,
        online=online,
        texts=texts,
        data=data,
        images=images,
        public_images=public_images,
        limit=limit,
        surface=seen,
        defences=tuple(defence or ()),
        select=tuple(select or ([] if selected is None or kind != home else [selected])),
        gradients=gradients,
        attacks=tuple(attack or ()),
        baseline=defaults.BASELINE.get(kind) if baseline else None,
        baseline_cells=baseline_cells,
        batch=batch,
        budget=None if budget is None else console.duration(budget, "--budget"),
        run_seconds=console.duration(cell_seconds, "--cell-seconds"),
        seed=seed,
        fail_on=fail_on,
        show_private=show_private,
        command=("unmask", *sys.argv[1:]),
    )
    files = weights_request.Files(before=weights_before, after=weights_after)
    planned = _planned(request, files)
    if dry_run:
        finish.preview(planned, json=json)
        return
    with console.bar() as progress:
        done = run(planned, out or api.default_folder(planned.subject.name), resume=resume, progress=progress)
    raise typer.Exit(finish.finish(planned, done, json=json, junit_file=junit_file, csv_file=csv_file))


def _planned(request: Request, files: weights_request.Files) -> Plan:
    if request.surface.name == options.PARAMETERS:
        return weights_request.plan(request, files)
    if files != weights_request.Files(before=None, after=None):
        raise BadInput("--weights-before", "given", "goes with another surface", "add --surface parameters")
    if image_request.pictured(request):
        return image_request.plan(request)
    if request.public_images is not None:
        raise BadInput("--public-images", str(request.public_images), "goes with a model of images", "add --images")
    return plan(request)
