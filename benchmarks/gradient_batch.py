"""Batches of eight sentences, seen through the query gradients of the first two layers."""

import json
import statistics
import sys
import time
from pathlib import Path

from benchmarks.gradient_grid import COMMAND
from benchmarks.harness import Bench, Run, mean, score_row, sentences, threads
from benchmarks.rows import Row
from unmask.attacks.span import SpanSearch

BATCH, COUNT, SECONDS, EARLIER = 8, 20, 120.0, 480.0
SELECT = "0.query+1.query"
DEVELOPED = 4
"""Batches that the settings were chosen on; the later ones were not looked at before."""
LOG = Path(__file__).parent / "results" / "gradients-batch.jsonl"
SEARCH = "company solved"
"""Version of the search; lines of an earlier one count only until there is one of this."""


def measure(count: int = COUNT, start: int = 0) -> None:
    """Append one line per batch to the log; batches that are there are not measured again."""
    bench = Bench(None, sentences(BATCH * COUNT), batch=BATCH)
    known = {line["index"] for line in log() if line.get("search") == SEARCH}
    for index in range(start, count):
        if index in known:
            continue
        run = bench.run(index, SELECT, SpanSearch(), SECONDS, clock=time.process_time)
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"index": index, "search": SEARCH, **vars(run)}) + "\n")
        print("batch", index, run.tokens, run.scores, round(run.seconds, 1), run.note, flush=True)


def log() -> list[dict]:
    """Return what was measured."""
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def rows() -> list[Row]:
    """Turn the log into the rows of the two bars."""
    lines = [line for line in log() if line.get("search") == SEARCH] or log()
    new = "search" in lines[0]
    runs = [Run(**{k: v for k, v in line.items() if k not in ("index", "search")}) for line in lines]
    fresh = [run for line, run in zip(lines, runs, strict=True) if line["index"] >= DEVELOPED]
    seconds = [run.seconds for run in runs]
    setting = "MiniLM, 0.query + 1.query, B=8"
    apart = (
        f"{len(fresh)} of them unseen while the settings were chosen: recall {mean(fresh, 'token_recall'):.3f}, "
        f"exact {mean(fresh, 'exact_match'):.3f}"
        if fresh
        else "all of them used while the settings were chosen"
    )
    limit = (
        f"limit {SECONDS:.0f} s of one core a batch"
        if new
        else f"limit {EARLIER:.0f} s a batch, one thread beside other work; measured with the search before a word's "
        "company was solved for"
    )
    note = (
        f"{len(runs)} of {COUNT} batches of {BATCH} sentences, {min(r.tokens for r in runs)} to "
        f"{max(r.tokens for r in runs)} tokens, {apart}; labels and lengths known, {limit}; "
        f"median {statistics.median(seconds):.0f} s, longest {max(seconds):.0f} s"
    )
    bars = (("token recall", "token_recall", 0.99), ("exact sequences", "exact_match", 0.9))
    return [score_row(f"{setting}: {name}", key, bar, runs, reason=note, command=COMMAND) for name, key, bar in bars]


if __name__ == "__main__":
    threads()
    measure(*map(int, sys.argv[1:]))
