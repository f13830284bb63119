"""The grid: every linear component of every layer of MiniLM, alone, on the same few sentences."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import Bench, Run, score_row, sentences, threads
from benchmarks.rows import Row
from unmask.attacks.span import SpanSearch

COMPONENTS = ("query", "key", "value", "attention.output", "ffn.in", "ffn.out")
COUNT, SECONDS, THREADS = 4, 55.0, 1
COMMAND = "make bench TOPIC=gradients"
VECTOR = ("5.query", "5.attention.output", "5.ffn.in", "5.ffn.out")
"""Cells of the last layer that only the first position reaches."""
ALL = 6 * len(COMPONENTS)
CELLS = Path(__file__).parent / "results" / "gradients-grid.jsonl"


def measure(layers: tuple[int, ...] = tuple(range(6)), budget: float = float("inf")) -> None:
    """Append one line per cell and sentence to the log; lines that exist are not measured again.

    Args:
        layers: which layers.
        budget: no run starts after so many seconds.
    """
    began = time.monotonic()
    bench = Bench(None, sentences(30), count=COUNT)
    known = {(c["layer"], c["component"], c["index"]) for c in cells()}
    cells_left = [(index, layer, part) for index in range(COUNT) for layer in layers for part in COMPONENTS]
    for index, layer, component in cells_left:
        if (layer, component, index) in known:
            continue
        if time.monotonic() - began > budget:
            return
        select = f"{layer}.{component}"
        run = bench.run(index, select, SpanSearch(), SECONDS, clock=time.process_time)
        line = {"layer": layer, "component": component, "index": index, **vars(run)}
        with CELLS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(layer, component, index, run.tokens, run.scores, round(run.seconds, 1), run.note[:40], flush=True)


def cells() -> list[dict]:
    """Return what the log holds."""
    return [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.exists() else []


def rows() -> list[Row]:
    """Turn the log into the rows of the grid's bars, over all cells, and of those that show one vector alone.

    Only the sentences that every cell has seen count, so that no cell weighs more than another.
    """
    log = cells()
    everything = [_run(line) for line in log]
    uneven = f"one to {COUNT} sentences a cell of 10 to 40 tokens; {_weakest(log)}"
    places = {(line["layer"], line["component"]) for line in log}
    whole = [i for i in range(COUNT) if sum(line["index"] == i for line in log) == len(places)]
    more = len(log)
    log = [line for line in log if line["index"] in whole]
    more -= len(log)
    runs = [_run(line) for line in log]
    last = [_run(line) for line in log if f"{line['layer']}.{line['component']}" in VECTOR]
    lengths = " and ".join(str(next(line["tokens"] for line in log if line["index"] == i)) for i in whole)
    base = f"MiniLM, single linear components, B=1, {len(whole)} sentences a cell of {lengths} tokens"
    every, note = f"{base}, {len(places)} of {ALL} cells", _weakest(log)
    if len(whole) < COUNT:
        note += f"; the first {len(whole)} of {COUNT} sentences, for want of time; {more} runs more are in the log"
    found = [_row(every, key, bar, runs, note) for key, bar in (("rouge1", 0.9), ("exact_match", 0.7))]
    if len(places) < ALL or len(whole) < COUNT:  # the bar asks for every cell and four sentences
        found = [replace(row, holds=False) for row in found]
    some = f"{base}, the cells that only [CLS] reaches ({', '.join(VECTOR)})"
    for key in ("rouge1", "exact_match"):
        reason = "the gradient has rank one: one vector that every word has reached"
        found.append(replace(_row(some, key, 0, last, reason), bar="reported", holds=True))
    if more:
        setting = f"MiniLM, single linear components, B=1, all {len(everything)} runs in the log"
        for key in ("rouge1", "exact_match"):
            found.append(replace(_row(setting, key, 0, everything, uneven), bar="reported", holds=True))
    slow, seconds = max(run.seconds for run in runs), sum(run.seconds for run in runs)
    found.append(
        Row(
            setting=f"{every}: longest run, limit {SECONDS:.0f} s",
            bar="<= 60",
            measured=round(slow, 1),
            unit="s",
            holds=slow <= 60,
            control=None,
            n=len(runs),
            seconds=round(seconds, 1),
            command=COMMAND,
            reason="seconds of one core, beside other work; a run ends with the round in which its time is up",
        )
    )
    return found


def _run(line: dict) -> Run:
    return Run(**{k: v for k, v in line.items() if k not in ("layer", "component", "index")})


def _weakest(log: list[dict]) -> str:
    """Name every cell whose mean ROUGE-1 is below the bar."""
    means: dict[str, list[float]] = {}
    for line in log:
        means.setdefault(f"{line['layer']}.{line['component']}", []).append(line["scores"]["rouge1"])
    weak = [f"{cell} {sum(v) / len(v):.2f}" for cell, v in means.items() if sum(v) / len(v) < 0.9]
    return f"cells below 0.90 in ROUGE-1: {', '.join(weak)}" if weak else ""


def _row(setting: str, key: str, bar: float, runs: list[Run], note: str) -> Row:
    return score_row(f"{setting}: mean {key}", key, bar, runs, reason=note, command=COMMAND)


if __name__ == "__main__":
    # python -m benchmarks.gradient_grid [SECONDS [LAYER ...]]: go on with the log for so long
    threads(THREADS)
    limits = sys.argv[1:]
    measure(tuple(map(int, limits[1:])) or tuple(range(6)), float(limits[0]) if limits else float("inf"))
