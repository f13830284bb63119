"""The rows of the attention surface that are about texts; each function measures what its log lacks."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import DATA, Bench, Run, mean, sentences
from benchmarks.rows import Row
from benchmarks.smollm import folder
from unmask.attack import Attack
from unmask.attacks.activations.activation_span import ActivationSpan
from unmask.surface import Release
from unmask.surfaces.activation import ActivationSurface
from unmask.victim import Secret
from unmask.victims.corpora import Example, from_parquet

COMMAND = "make bench TOPIC=attention"
LOG = Path(__file__).parent / "results" / "attention-text.jsonl"
COUNT = 20
DEEP_SECONDS = 150.0
MEASURING = True
"""Whether to measure what the log lacks; otherwise rows are made of what it holds."""
PROMPT = 20
SITES = ("0.hidden", "0.block", "14.hidden", "14.block", "29.hidden", "29.block")
NOISES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
ROBUST_SITES = ("0.block", "2.hidden")
ROBUST: dict[str, dict[str, Any]] = {
    **{f"noise {noise:g} of the norm": {"release": Release(noise=noise)} for noise in NOISES},
    **{dtype: {"release": Release(dtype=dtype)} for dtype in ("bfloat16", "int8")},
    **{f"{share:.0%} of the rows missing": {"missing": share} for share in (0.1, 0.25, 0.5)},
    "rows permuted": {"permuted": True},
}
"""What is done to the tensors before they are seen, by its name in the rows."""
DRAW = 1126
"""Seed of texts that nothing was developed on; the texts of seed 0 are those that settings were compared on."""
OWN = "processor seconds of one thread"


def _log() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def _measure(
    part: str,
    bench: Bench,
    surface: ActivationSurface,
    attack: Attack[Any],
    seconds: float,
    count: int,
    setting: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> list[Run]:
    """Return one run per text, those of the log first; each new one is appended to it."""
    known = {
        line["index"]: line
        for line in _log()
        if (line["part"], line["select"], line["attack"], line["setting"])
        == (part, surface.select, attack.name, setting)
    }
    found = []
    for index in range(count):
        if index not in known and not MEASURING:
            continue
        if index not in known:
            run = bench.run(index, surface.select, attack, seconds, surface=surface, clock=clock)
            head = {"part": part, "select": surface.select, "attack": attack.name, "setting": setting, "index": index}
            known[index] = {**head, **vars(run)}
            with LOG.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[index]) + "\n")
            print(*head.values(), run.tokens, run.scores["exact_match"], f"{run.seconds:.1f} s", run.note, flush=True)
        line = known[index]
        found.append(Run(**{key: line[key] for key in Run.__dataclass_fields__}))
    return found


def _row(setting: str, bar: str, measured: float | str, holds: bool, runs: Sequence[Run], **more: Any) -> Row:
    return Row(
        setting=setting,
        bar=bar,
        measured=round(measured, 4) if isinstance(measured, float) else measured,
        unit=more.get("unit", ""),
        holds=holds,
        control=more.get("control", round(mean(runs, "exact_match", "null"), 4)),
        n=len(runs),
        seconds=round(sum(run.seconds for run in runs), 1),
        command=COMMAND,
        reason=more.get("reason", ""),
    )


def first() -> list[Row]:
    """MiniLM, the attention output of layer 0 after the projection, on texts that nothing was developed on."""
    bench = Bench(None, sentences(3 * COUNT, DRAW), longest=60, count=COUNT)
    surface, clock = ActivationSurface(select="0.block"), time.process_time
    runs = _measure("first", bench, surface, ActivationSpan(), 60, COUNT, f"draw {DRAW}", clock)
    if not runs:
        return []
    exact, slow = mean(runs, "exact_match"), max(run.seconds for run in runs)
    base = f"MiniLM, 0.block alone, held-out real sentences of up to {max(run.tokens for run in runs)} tokens"
    closed = sum(run.note.startswith("span") for run in runs)
    reason = f"{OWN}; {closed} of {len(runs)} texts in closed form, the longer ones by descent"
    return [
        _row(f"{base}: exact match", "1.00", exact, exact == 1, runs),
        _row(f"{base}: slowest", "< 3", slow, slow < 3, runs, unit="s", control=None, reason=reason),
    ]


def deeper() -> list[Row]:
    """MiniLM, the attention output of each later layer after the projection, on texts of the same draw."""
    return [row for layer in range(1, 6) for row in layer_rows(layer)]


def layer_rows(layer: int) -> list[Row]:
    """Return the row of one layer's attention output.

    Args:
        layer: from 1 on.
    """
    bench = Bench(None, sentences(3 * COUNT, DRAW), longest=60, count=COUNT)
    surface, clock = ActivationSurface(select=f"{layer}.block"), time.process_time
    runs = _measure("deeper", bench, surface, ActivationSpan(), DEEP_SECONDS, COUNT, f"draw {DRAW}", clock)
    if not runs:
        return []
    exact, slow = mean(runs, "exact_match"), max(run.seconds for run in runs)
    name = f"MiniLM, {layer}.block alone, held-out real sentences of up to {max(run.tokens for run in runs)} tokens"
    missed = sum(run.scores["exact_match"] < 1 for run in runs)
    reason = f"{len(runs)} of the bar's {COUNT} texts; slowest {slow:.0f} {OWN}"
    if missed:
        recall = mean(runs, "token_recall")
        reason += f"; {missed} ended with the limit of {DEEP_SECONDS:.0f} s; share of tokens found {recall:.3f}"
    holds = exact >= 0.95 and len(runs) == COUNT
    return [_row(f"{name}: exact match", ">= 0.95", exact, holds, runs, reason=reason)]


def causal() -> list[Row]:
    """SmolLM2: hidden states and attention outputs of its first, fifteenth and last layer."""
    lines = [example.text for example in from_parquet(DATA / "wikitext" / "validation.parquet", None, 0)]
    long = [Example(text=text.strip(), label=0, kind="wikitext") for text in lines if len(text.split()) > 60][:COUNT]
    bench = Bench(folder(), long)
    bench.secrets = tuple(_cut(secret, PROMPT) for secret in bench.secrets)
    rows = []
    for select in SITES:
        surface, clock = ActivationSurface(select=select), time.process_time
        runs = _measure("causal", bench, surface, ActivationSpan(), 900, COUNT, clock=clock)
        if not runs:
            continue
        exact = mean(runs, "exact_match")
        forwarded = statistics.fmean(int(run.note.split()[0]) for run in runs)
        few = "" if len(runs) == COUNT else f"{len(runs)} of the bar's {COUNT} prompts"
        brute = PROMPT * bench.model.vocabulary.size
        base = f"SmolLM2-135M, {select} alone (layers from 0), {PROMPT}-token prompts"
        rows.append(_row(f"{base}: exact match", "1.00", exact, exact == 1 and not few, runs, reason=few))
        fewer = brute / forwarded
        reason = (
            f"{forwarded:.0f} tokens a prompt, prefixes counted each time, against {brute} of trying the vocabulary "
            "at each position; the first layer's responses to all tokens come on top once a model (1/30 of a pass "
            "each)" + (f"; {few}" if few else "")
        )
        rows.append(
            _row(
                f"{base}: fewer forward tokens than brute force",
                ">= 20",
                fewer,
                fewer >= 20,
                runs,
                unit="x",
                control=None,
                reason=reason,
            )
        )
    return rows


def _cut(secret: Secret, length: int) -> Secret:
    return replace(secret, ids=secret.ids[:, :length], mask=secret.mask[:, :length])


def robust(count: int = 3, seconds: float = 5.0) -> list[Row]:
    """MiniLM, an attention output and a hidden state, released otherwise than exactly."""
    bench = Bench(None, sentences(3 * COUNT, DRAW), longest=24, count=8)
    rows = []
    for select in ROBUST_SITES:
        for name, changed in ROBUST.items():
            surface = replace(ActivationSurface(select=select), **changed)
            runs = _measure("robust", bench, surface, ActivationSpan(), seconds, count, name, time.process_time)
            if not runs:
                continue
            score, trivial = mean(runs, "rouge1"), mean(runs, "rouge1", "trivial")
            control = f"trivial {trivial:.3f}, null {mean(runs, 'rouge1', 'null'):.3f}"
            reason = f"{seconds:.0f} {OWN} a text; exact match {mean(runs, 'exact_match'):.2f}"
            setting = f"MiniLM, {select} alone, {name}: ROUGE-1"
            rows.append(_row(setting, "reported", score, True, runs, control=control, reason=reason))
    return rows
