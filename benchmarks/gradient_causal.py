"""A causal model: SmolLM2-135M, one linear component early, in the middle and late."""

import json
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import DATA, Bench, Run, mean
from benchmarks.rows import Row
from benchmarks.smollm import folder
from unmask.attacks.span import SpanSearch
from unmask.victim import Secret
from unmask.victims.corpora import Example, from_parquet

COMMAND = "make bench TOPIC=gradients ARGS=causal"
LOG = Path(__file__).parent / "results" / "gradients-causal.jsonl"
PLACES = ("1.value", "15.ffn.in", "28.attention.output")
COUNT, LENGTH, SECONDS = 5, 24, 900.0


def measure() -> None:
    """Append one line per place and text to the log; lines that exist are not measured again."""
    known = {(line["select"], line["index"]) for line in _log()}
    wanted = [(select, index) for select in PLACES for index in range(COUNT) if (select, index) not in known]
    if not wanted:
        return
    texts = [e.text.strip() for e in from_parquet(DATA / "wikitext" / "validation.parquet", None, 0)]
    long = [Example(text=text, label=0, kind="wikitext") for text in texts if len(text.split()) > 60][:COUNT]
    bench = Bench(folder(), long)
    bench.secrets = tuple(_cut(secret) for secret in bench.secrets)
    for select, index in wanted:
        run = bench.run(index, select, SpanSearch(), SECONDS)
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"select": select, "index": index, **vars(run)}) + "\n")
        print(select, index, run.scores, round(run.seconds, 1), run.note, run.residual, flush=True)


def causal() -> list[Row]:
    """Measure what the log lacks, then make one row per place."""
    measure()
    rows = []
    for select in PLACES:
        runs = [
            Run(**{key: value for key, value in line.items() if key not in ("select", "index")})
            for line in _log()
            if line["select"] == select
        ]
        exact, slowest = mean(runs, "exact_match"), max(run.seconds for run in runs)
        rows.append(
            Row(
                setting=f"SmolLM2-135M, {select} alone, B=1, {LENGTH} tokens: exact match",
                bar="1.00",
                measured=exact,
                unit="",
                holds=exact == 1 and len(runs) == COUNT,
                control=round(mean(runs, "exact_match", "null"), 4),
                n=len(runs),
                seconds=round(sum(run.seconds for run in runs), 1),
                command=COMMAND,
                reason=f"one thread beside other work, slowest text {slowest:.0f} s",
            )
        )
    return rows


def _log() -> list[dict]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def _cut(secret: Secret) -> Secret:
    return replace(secret, ids=secret.ids[:, :LENGTH], mask=secret.mask[:, :LENGTH])
