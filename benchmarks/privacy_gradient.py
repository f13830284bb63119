"""The attack on a DP-SGD step: what is released after clipping and noise, and the reading before either."""

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Bench, Run, mean, sentences
from benchmarks.rows import Row
from unmask.attack import Attack
from unmask.attacks.matching.soft_span import SoftSpan
from unmask.attacks.span import SpanSearch
from unmask.privacy import accountant, gaussian
from unmask.surfaces.dp_gradient import DpGradientSurface, Reading
from unmask.surfaces.gradient import GradientSurface

COMMAND = "make bench TOPIC=privacy ARGS=gradient"
LOG = Path(__file__).parent / "results" / "privacy-gradient.jsonl"
SIGMAS = (0.001, 0.003, 0.01, 0.1, 1.0, 10.0)
SELECTS = ("0.query", "2.query")
COUNT, LONGEST, SECONDS, CLIP = 4, 24, 30.0, 1.0
RECORDS, EPOCHS = 8551, 2
"""CoLA's training sentences and the published number of passes, one sentence a step."""


def measure() -> None:
    """Append one line per noise, reading, cell and sentence to the log; lines that exist are not measured again."""
    bench = Bench(None, sentences(30), count=COUNT + 8, longest=LONGEST)
    known = {(line["sigma"], line["reading"], line["select"], line["index"]) for line in _log()}
    for sigma in SIGMAS:
        for reading in Reading:
            for select in SELECTS:
                for index in range(COUNT):
                    key = (sigma, reading.value, select, index)
                    if key in known:
                        continue
                    base = GradientSurface(select=select, knows_labels=True, knows_lengths=True)
                    surface = DpGradientSurface(base=base, clip=CLIP, noise=sigma, reading=reading)
                    # Before the noise the exact search applies; after it, the soft one.
                    attack: Attack = SpanSearch() if reading is Reading.PRE_NOISE else SoftSpan()
                    run = bench.run(index, select, attack, SECONDS, surface=surface)
                    line = dict(zip(("sigma", "reading", "select", "index"), key, strict=True)) | asdict(run)
                    with LOG.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(*key, run.scores, round(run.seconds, 1), run.note, flush=True)


def rows() -> list[Row]:
    """Measure what the log lacks, then make one row per noise and cell."""
    measure()
    found = []
    for sigma in SIGMAS:
        for select in SELECTS:
            released, early = (_runs(sigma, reading, select) for reading in Reading)
            found.append(
                Row(
                    setting=f"DP-SGD step, MiniLM {select}, B=1, C={CLIP:g}, sigma {sigma:g} ({_epsilon(sigma)}): "
                    "ROUGE-1 of the released gradient, and of the reading before clipping and noise",
                    bar="reported",
                    measured=f"released {mean(released, 'rouge1'):.3f}, pre-noise {mean(early, 'rouge1'):.3f}",
                    unit="",
                    holds=True,
                    control=f"null {mean(released, 'rouge1', 'null'):.3f}, trivial "
                    f"{mean(released, 'rouge1', 'trivial'):.3f}",
                    n=len(released),
                    seconds=round(sum(run.seconds for run in released + early), 1),
                    command=COMMAND,
                    reason=f"pretrained weights with a new head; {COUNT} sentences of at most {LONGEST} tokens; "
                    f"soft span within {SECONDS:.0f} s on what is released, exact span on the other",
                )
            )
    return found


def _epsilon(sigma: float) -> str:
    delta, steps = 1 / RECORDS, EPOCHS * RECORDS
    if sigma >= 1:
        return f"epsilon {accountant.epsilon_of(sigma, 1 / RECORDS, steps, delta):.3g} at delta 1/N"
    # Without amplification by sampling: the accountant's grid would be too wide for so little noise.
    bound = gaussian.epsilon_of(delta, sigma / steps**0.5)
    return f"epsilon at most {bound:.2g} at delta 1/N"


def _runs(sigma: float, reading: Reading, select: str) -> list[Run]:
    extra = ("sigma", "reading", "select", "index")
    chosen = [line for line in _log() if (line["sigma"], line["reading"], line["select"]) == (sigma, reading, select)]
    return [Run(**{key: value for key, value in line.items() if key not in extra}) for line in chosen]


def _log() -> list[dict]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
