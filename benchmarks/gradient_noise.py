"""What rounding and noise leave: soft span matching beside the published method."""

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Bench, Run, mean, sentences
from benchmarks.rows import Row
from unmask.attack import Attack
from unmask.attacks.matching.lamp import Lamp
from unmask.attacks.matching.soft_span import SoftSpan
from unmask.surface import Release

COMMAND = "make bench TOPIC=gradients ARGS=noisy"
LOG = Path(__file__).parent / "results" / "gradients-noise.jsonl"
SELECTS = ("0.query", "2.query")
COUNT, LONGEST = 2, 24
LIMITS = {"soft-span": 60.0, "lamp": 900.0}
SETTINGS = {
    "bfloat16": Release(dtype="bfloat16"),
    "noise of 1e-3 of the norm": Release(noise=1e-3),
    "noise of 1e-2 of the norm": Release(noise=1e-2),
}


def measure() -> None:
    """Append one line per setting, cell, sentence and attack to the log; lines that exist are not measured again."""
    bench = Bench(None, sentences(30), count=COUNT + 8, longest=LONGEST)
    known = {(line["setting"], line["select"], line["index"], line["attack"]) for line in _log()}
    attacks: tuple[Attack, ...] = (SoftSpan(), Lamp())
    for attack in attacks:
        for select in SELECTS:
            for setting, release in SETTINGS.items():
                for index in range(COUNT):
                    key = (setting, select, index, attack.name)
                    if key in known:
                        continue
                    run = bench.run(index, select, attack, LIMITS[attack.name], release)
                    line = dict(zip(("setting", "select", "index", "attack"), key, strict=True)) | asdict(run)
                    with LOG.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(*key, run.scores, round(run.seconds, 1), run.note, flush=True)


def noisy() -> list[Row]:
    """Measure what the log lacks, then make its rows."""
    measure()
    return rows()


def rows() -> list[Row]:
    """Return one row per setting and cell that both attacks have seen."""
    found = []
    for setting in SETTINGS:
        for select in SELECTS:
            soft, lamp = _runs(setting, select, "soft-span"), _runs(setting, select, "lamp")
            if min(len(soft), len(lamp)) < COUNT:
                continue
            ours, theirs = mean(soft, "rouge1"), mean(lamp, "rouge1")
            null = mean(soft, "rouge1", "null")
            found.append(
                Row(
                    setting=f"MiniLM, {select}, {setting}: soft span ROUGE-1 against LAMP",
                    bar="higher",
                    measured=round(ours, 4),
                    unit="",
                    holds=ours > theirs,
                    control=f"LAMP {theirs:.4f}, null {null:.4f}",
                    n=len(soft),
                    seconds=round(sum(run.seconds for run in soft), 1),
                    command=COMMAND,
                    reason=f"LAMP with all its 2,000 steps; soft span ended after {LIMITS['soft-span']:.0f} s at most; "
                    f"{COUNT} sentences of at most {LONGEST} tokens, not the 20 of other rows: LAMP takes minutes each",
                )
            )
    return found


def _runs(setting: str, select: str, attack: str) -> list[Run]:
    chosen = [line for line in _log() if (line["setting"], line["select"], line["attack"]) == (setting, select, attack)]
    extra = ("setting", "select", "index", "attack")
    return [Run(**{key: value for key, value in line.items() if key not in extra}) for line in chosen]


def _log() -> list[dict]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
