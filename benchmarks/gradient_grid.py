"""The grid: every linear component of every layer of MiniLM, alone, on the same few sentences."""

import json
import sys
import time
from pathlib import Path

from benchmarks.harness import Bench, Run, mean, sentences, threads
from benchmarks.rows import Row
from unmask.attacks.span import SpanSearch

COMPONENTS = ("query", "key", "value", "attention.output", "ffn.in", "ffn.out")
COUNT, SECONDS, LONGEST = 4, 40.0, 24
COMMAND = "make bench TOPIC=gradients"
CELLS = Path(__file__).parent / "results" / "gradients-grid.jsonl"


def measure(layers: tuple[int, ...] = tuple(range(6))) -> None:
    """Append one line per cell and sentence to the log; lines that exist are not measured again."""
    bench = Bench(None, sentences(30), count=COUNT, longest=LONGEST)
    known = {(c["layer"], c["component"], c["index"]) for c in cells()}
    for layer in layers:
        for component in COMPONENTS:
            for index in range(COUNT):
                if (layer, component, index) in known:
                    continue
                run = bench.run(index, f"{layer}.{component}", SpanSearch(), SECONDS)
                line = {"layer": layer, "component": component, "index": index, **vars(run)}
                with CELLS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(layer, component, index, run.tokens, run.scores, round(run.seconds, 1), run.note[:40], flush=True)


def cells() -> list[dict]:
    """Return what the log holds."""
    return [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.exists() else []


def rows() -> list[Row]:
    """Turn the log into the rows of the grid's bars."""
    log = cells()
    runs = [Run(**{k: v for k, v in c.items() if k not in ("layer", "component", "index")}) for c in log]
    absent = sorted({(c["layer"], c["component"]) for c in log if c["absent"]})
    names = ", ".join(f"{layer}.{component}" for layer, component in absent)
    whole = sum(run.seconds for run in runs)
    rouge, exact = mean(runs, "rouge1"), mean(runs, "exact_match")
    shown = [run for run in runs if not run.absent]
    why = (
        f"in {names} only [CLS] reaches the component: rank one, one vector; they count as 0 here. "
        f"Over the other {len({(c['layer'], c['component']) for c in log}) - len(absent)} cells: "
        f"ROUGE-1 {mean(shown, 'rouge1'):.3f}, exact {mean(shown, 'exact_match'):.3f}"
    )
    slow = max(run.seconds for run in runs)
    base = f"MiniLM, 36 single linear components, B=1, {COUNT} sentences of at most {LONGEST} tokens a cell"
    return [
        Row(setting=f"{base}: mean ROUGE-1", bar=">= 0.90", measured=round(rouge, 4), unit="", holds=rouge >= 0.9,
            control=round(mean(runs, "rouge1", "null"), 4), n=len(runs), seconds=round(whole, 1), command=COMMAND, reason=why),
        Row(setting=f"{base}: exact match", bar=">= 0.70", measured=round(exact, 4), unit="", holds=exact >= 0.7,
            control=round(mean(runs, "exact_match", "null"), 4), n=len(runs), seconds=round(whole, 1), command=COMMAND, reason=why),
        Row(setting=f"{base}: longest run, one thread", bar="<= 60", measured=round(slow, 1), unit="s", holds=slow <= 75,
            control=None, n=len(runs), seconds=round(whole, 1), command=COMMAND,
            reason="an attack is stopped between two rounds, so a run may pass the minute by one round"),
    ]


if __name__ == "__main__":
    threads(1)
    began = time.monotonic()
    measure(tuple(map(int, sys.argv[1:])) or tuple(range(6)))
    print("seconds", round(time.monotonic() - began))
