"""The attack on a DP-SGD step: what is released after clipping and noise, and the reading before either."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from benchmarks import privacy_figure, privacy_identify, privacy_training
from benchmarks.harness import DATA, Bench, Run, mean, threads
from benchmarks.rows import RESULTS, Row, versions
from unmask.attack import Attack
from unmask.attacks.matching.matching import tag
from unmask.attacks.matching.soft_span import SoftSpan
from unmask.attacks.span import SpanSearch
from unmask.privacy import accountant, gaussian
from unmask.surfaces.dp_gradient import DpGradientSurface, Reading
from unmask.surfaces.gradient import GradientSurface
from unmask.victims.corpora import from_parquet

COMMAND = "make bench TOPIC=privacy ARGS=gradient"
LOG = RESULTS / "privacy-gradient.jsonl"
SIGMAS = (0.001, 0.01, 0.1, 1.0, 10.0)
FAINT = (1e-6, 1e-5, 1e-4)
"""Noise at which no bound means anything; only the attacks that take a second are tried, to find where they begin."""
ATTACKS: Mapping[str, str] = {"span": "exact search", "soft-span": "soft span", "tag": "gradient matching (TAG)"}
SELECT, COUNT, LONGEST, SECONDS, CLIP = "0.query", 3, 24, 15.0, 1.0
WHOLE, PATIENCE = 2000, 240.0
"""Steps that TAG is given on one sentence, and the seconds for them, where it may get somewhere."""
RECORDS, EPOCHS = 8551, 2
"""CoLA's training sentences and the published number of passes, one sentence a step."""


def measure(most: float = float("inf")) -> bool:
    """Append one line per noise, attack and sentence to the log; lines that exist are not measured again.

    The reading before clipping and noise knows no sigma, so that it is measured once: sigma is None.

    Args:
        most: stop after so many seconds, between two attacks.

    Returns:
        Whether nothing is left.
    """
    threads()
    began = time.monotonic()
    known = {(line["sigma"], line["attack"], line["index"]) for line in _log()}
    keys = [(s, name, i) for s in (None, *SIGMAS) for name in ATTACKS for i in range(COUNT)]
    keys += [(s, name, i) for s in FAINT for name in ("span", "soft-span") for i in range(COUNT)]
    keys += [(s, "tag-whole", 0) for s in (None, 0.001)]
    left = [key for key in keys if key not in known]
    if not left:
        return True
    # The published claim is about CoLA, one sentence a step.
    bench = Bench(None, from_parquet(DATA / "cola" / "train.parquet", 60), count=COUNT + 8, longest=LONGEST)
    attacks: Mapping[str, Attack[Any]] = {"span": SpanSearch(), "soft-span": SoftSpan(), "tag": tag()}
    whole = tag()
    attacks = {**attacks, "tag-whole": replace(whole, descent=replace(whole.descent, steps=WHOLE))}
    base = GradientSurface(select=SELECT, knows_labels=True, knows_lengths=True)
    for sigma, name, index in left:
        if time.monotonic() - began > most:
            return False
        reading = Reading.PRE_NOISE if sigma is None else Reading.RELEASED
        surface = DpGradientSurface(base=base, clip=CLIP, noise=sigma or 0.0, reading=reading)
        run = bench.run(index, SELECT, attacks[name], PATIENCE if name == "tag-whole" else SECONDS, surface=surface)
        line = {"sigma": sigma, "attack": name, "index": index, **asdict(run)}
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(sigma, name, index, run.scores, round(run.seconds, 1), run.note, flush=True)
    return True


def rows() -> list[Row]:
    """Measure what the log lacks, draw the figure, and make one row per noise, the pre-noise reading first."""
    measure()
    utility = {line["job"][2]: line["accuracy"] for line in privacy_training.lines() if line["job"][2] is not None}
    found = [_row(sigma, utility.get(sigma)) for sigma in (None, *FAINT, *SIGMAS)]
    found += privacy_identify.rows()
    sigmas = (*FAINT, *SIGMAS)
    released = {s: {n: mean(_runs(s, n), "rouge1") for n in ATTACKS if _runs(s, n)} for s in sigmas}
    before = {name: mean(_runs(None, name), "rouge1") for name in ATTACKS}
    privacy_figure.draw_step(released, before, utility, ATTACKS, privacy_identify.found())
    return found


def _row(sigma: float | None, accuracy: float | None) -> Row:
    parts, every = [], []
    for name in (*ATTACKS, "tag-whole"):
        runs = _runs(sigma, name)
        if not runs:
            continue
        rouge = f"R-1 {mean(runs, 'rouge1'):.2f}, R-L {mean(runs, 'rougeL'):.2f}"
        parts.append(f"{name} {rouge}, exact {mean(runs, 'exact_match'):.2f}")
        every += runs
    worth = "" if accuracy is None else f"; accuracy {accuracy:.3f}"
    where = f"DP-SGD step, MiniLM on CoLA, {SELECT} alone, B = 1, C = {CLIP:g}"
    what = "the reading before clipping and noise, any sigma" if sigma is None else f"released, sigma {sigma:g}"
    spent = "nothing is guaranteed" if sigma is None else _epsilon(sigma)
    return Row(
        setting=f"{where}: {what} ({spent})",
        bar="reported",
        measured="; ".join(parts) + worth,
        unit="",
        holds=True,
        control=f"null R-1 {mean(every, 'rouge1', 'null'):.2f}, trivial {mean(every, 'rouge1', 'trivial'):.2f}",
        n=COUNT,
        seconds=round(sum(run.seconds for run in every), 1),
        command=COMMAND,
        versions=versions(("unmask", "torch", "transformers", "dp-accounting", "opacus")),
        reason=f"pretrained weights with a new head; {COUNT} sentences of at most {LONGEST} tokens, labels and lengths "
        f"known; {SECONDS:.0f} s an attack, which cuts TAG short; epsilon of {EPOCHS} passes over {RECORDS} sentences, "
        f"one a step; accuracy: Rotten Tomatoes, the classifier trained at this sigma, see there; tag-whole: {WHOLE} "
        "steps on one sentence",
    )


def _epsilon(sigma: float) -> str:
    delta, steps = 1 / RECORDS, EPOCHS * RECORDS
    if sigma >= 1:
        return f"epsilon {accountant.epsilon_of(sigma, 1 / RECORDS, steps, delta):.3g} at delta 1/N"
    # Without amplification by sampling: the accountant's grid would be too wide for so little noise.
    bound = gaussian.epsilon_of(delta, sigma / steps**0.5)
    return f"epsilon at most {bound:.2g} at delta 1/N"


def _runs(sigma: float | None, name: str) -> list[Run]:
    chosen = [line for line in _log() if (line["sigma"], line["attack"]) == (sigma, name)]
    return [Run(**{k: v for k, v in line.items() if k not in ("sigma", "attack", "index")}) for line in chosen]


def _log() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
