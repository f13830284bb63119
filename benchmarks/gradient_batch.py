"""Batches of eight sentences, seen through the query gradients of the first two layers."""

import json
import statistics
import sys
from pathlib import Path

from benchmarks.gradient_grid import COMMAND
from benchmarks.harness import Bench, Run, mean, score_row, sentences, threads
from benchmarks.rows import Row
from unmask.attacks.span import SpanSearch

BATCH, COUNT, SECONDS = 8, 20, 480.0
SELECT = "0.query+1.query"
DEVELOPED = 4
"""Batches that the settings were chosen on; the later ones were not looked at before."""
LOG = Path(__file__).parent / "results" / "gradients-batch.jsonl"


def measure(count: int = COUNT, start: int = 0) -> None:
    """Append one line per batch to the log; batches that are there are not measured again."""
    bench = Bench(None, sentences(BATCH * COUNT), batch=BATCH)
    known = {line["index"] for line in log()}
    for index in range(start, count):
        if index in known:
            continue
        run = bench.run(index, SELECT, SpanSearch(), SECONDS)
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"index": index, **vars(run)}) + "\n")
        print("batch", index, run.tokens, run.scores, round(run.seconds, 1), run.note, flush=True)


def log() -> list[dict]:
    """Return what was measured."""
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def rows() -> list[Row]:
    """Turn the log into the rows of the two bars."""
    runs = [Run(**{k: v for k, v in line.items() if k != "index"}) for line in log()]
    fresh = [run for line, run in zip(log(), runs, strict=True) if line["index"] >= DEVELOPED]
    seconds = [run.seconds for run in runs]
    setting = "MiniLM, 0.query + 1.query, B=8"
    apart = (
        f"{len(fresh)} of them unseen while the settings were chosen: recall {mean(fresh, 'token_recall'):.3f}, "
        f"exact {mean(fresh, 'exact_match'):.3f}"
        if fresh
        else "all of them used while the settings were chosen"
    )
    note = (
        f"{len(runs)} of {COUNT} batches of {BATCH} sentences, {min(r.tokens for r in runs)} to "
        f"{max(r.tokens for r in runs)} tokens, {apart}; labels and lengths known, limit {SECONDS:.0f} s a batch, "
        f"one thread beside other work; median {statistics.median(seconds):.0f} s, longest {max(seconds):.0f} s"
    )
    bars = (("token recall", "token_recall", 0.99), ("exact sequences", "exact_match", 0.9))
    return [score_row(f"{setting}: {name}", key, bar, runs, reason=note, command=COMMAND) for name, key, bar in bars]


if __name__ == "__main__":
    threads()
    measure(*map(int, sys.argv[1:]))
