"""The rows of the gradient surface beside the grid; each function measures one bar."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.gradient_grid import COMMAND
from benchmarks.harness import DATA, Bench, Run, mean, sentences
from benchmarks.rows import Row
from benchmarks.smollm import folder
from unmask.attack import Attack
from unmask.attacks.lamp import Lamp
from unmask.attacks.soft_span import SoftSpan
from unmask.attacks.span import SpanSearch
from unmask.attacks.vocabulary_test import projected_distances, vocabulary_distances
from unmask.public import InputTable
from unmask.subspace import row_space
from unmask.surface import Release
from unmask.victim import Secret
from unmask.victims.corpora import Example, from_parquet

CROWDED = (
    "the span of a large batch tells tokens and positions, not pairs; mates are read from the query gradient, and "
    "proving whole sentences by the second span did not finish in 90 s on one thread beside other work; 4 batches"
)


def _row(setting: str, bar: str, measured: float | str, holds: bool, runs: Sequence[Run], **more: object) -> Row:
    control = more.get("control", round(mean(runs, "rouge1", "null"), 4))
    return Row(
        setting=setting,
        bar=bar,
        measured=measured,
        unit=str(more.get("unit", "")),
        holds=holds,
        control=control,
        n=len(runs),
        seconds=round(sum(r.seconds for r in runs), 1),
        command=COMMAND,
        reason=str(more.get("reason", "")),
    )


def first_layer() -> list[Row]:
    """Layer-0 query, value and key, each alone."""
    bench, rows = Bench(None, sentences(20)), []
    for component in ("query", "value", "key"):
        runs = [bench.run(i, f"0.{component}", SpanSearch(), 60) for i in range(20)]
        exact, slow = mean(runs, "exact_match"), max(r.seconds for r in runs)
        control = round(mean(runs, "exact_match", "null"), 4)
        base = f"MiniLM, 0.{component} alone, B=1"
        rows.append(_row(f"{base}: exact match", "1.00", exact, exact == 1, runs, control=control))
        rows.append(_row(f"{base}: slowest", "< 3", round(slow, 2), slow < 3, runs, unit="s", control=None))
    return rows


def batch(batches: int = 4, seconds: float = 90) -> list[Row]:
    """Layer-0 and layer-1 query, eight sentences a batch."""
    bench = Bench(None, sentences(8 * batches), batch=8)
    runs = []
    for i in range(batches):
        runs.append(bench.run(i, "0.query+1.query", SpanSearch(), seconds))
        print("batch", i, runs[-1].tokens, runs[-1].scores, round(runs[-1].seconds, 1), runs[-1].note, flush=True)
    recall, exact = mean(runs, "token_recall"), mean(runs, "exact_match")
    most = max(r.tokens for r in runs)
    setting = f"MiniLM, 0.query + 1.query, B=8, up to {most} tokens a batch"
    return [
        _row(
            f"{setting}: token recall",
            ">= 0.99",
            round(recall, 4),
            recall >= 0.99,
            runs,
            control=round(mean(runs, "token_recall", "null"), 4),
            reason=CROWDED,
        ),
        _row(
            f"{setting}: exact sequences",
            ">= 0.90",
            round(exact, 4),
            exact >= 0.9,
            runs,
            control=round(mean(runs, "exact_match", "null"), 4),
            reason=CROWDED,
        ),
    ]


def causal(places: Sequence[str] = ("1.value", "15.ffn.in", "28.attention.output"), seconds: float = 600) -> list[Row]:
    """SmolLM2: one component early, in the middle and late, 24 tokens."""
    lines = [e.text for e in from_parquet(DATA / "wikitext" / "validation.parquet", None, 0)]
    long = [Example(text=t.strip(), label=0, kind="wikitext") for t in lines if len(t.split()) > 60][:5]
    bench = Bench(folder(), long)
    bench.secrets = tuple(_cut(secret, 24) for secret in bench.secrets)
    rows = []
    for select in places:
        runs = []
        for i in range(len(long)):
            runs.append(bench.run(i, select, SpanSearch(), seconds))
            print(select, i, runs[-1].scores, round(runs[-1].seconds, 1), runs[-1].note, runs[-1].residual, flush=True)
        exact = mean(runs, "exact_match")
        control = round(mean(runs, "exact_match", "null"), 4)
        rows.append(
            _row(
                f"SmolLM2-135M, {select} alone, B=1, 24 tokens: exact match",
                "1.00",
                exact,
                exact == 1,
                runs,
                control=control,
            )
        )
    return rows


def _cut(secret: Secret, length: int) -> Secret:
    return replace(secret, ids=secret.ids[:, :length], mask=secret.mask[:, :length])


def noisy(
    selects: Sequence[str] = ("0.query", "2.query"), count: int = 1, lamp_seconds: float = 300, seconds: float = 120
) -> list[Row]:
    """bfloat16 and Gaussian noise: soft span matching beside the published method."""
    bench, rows = Bench(None, sentences(30), count=count + 1, longest=24), []
    settings = {
        "bfloat16": Release(dtype="bfloat16"),
        "noise of 1e-3 of the norm": Release(noise=1e-3),
        "noise of 1e-2 of the norm": Release(noise=1e-2),
    }
    for name, release in settings.items():
        for select in selects:
            soft = _all(bench, count, select, SoftSpan(), seconds, release)
            lamp = _all(bench, count, select, Lamp(), lamp_seconds, release)
            a, b = mean(soft, "rouge1"), mean(lamp, "rouge1")
            print(name, select, a, b, [round(r.seconds) for r in soft + lamp], flush=True)
            rows.append(
                _row(
                    f"MiniLM, {select}, {name}: soft span ROUGE-1 against LAMP",
                    "higher",
                    round(a, 4),
                    a > b,
                    soft,
                    control=f"LAMP {b:.4f}",
                    reason=f"LAMP ended after {lamp_seconds:.0f} s at the latest, soft span after {seconds:.0f} s",
                )
            )
    return rows


def _all(bench: Bench, count: int, select: str, attack: Attack, seconds: float, release: Release) -> list[Run]:
    return [bench.run(i, select, attack, seconds, release) for i in range(count)]


def vocabulary() -> list[Row]:
    """All tokens at all positions of a GPT-2-shaped first layer, in closed form and by projection."""
    generator = torch.Generator().manual_seed(0)
    size, width, positions = 50257, 768, 16
    table = InputTable(
        token=0.02 * torch.randn(size, width, generator=generator),
        position=0.02 * torch.randn(1024, width, generator=generator),
        weight=torch.ones(width),
        bias=torch.zeros(width),
        epsilon=1e-5,
        centred=True,
    )
    ids = torch.randint(size, (positions,), generator=generator)
    rows = table.rows(ids, torch.arange(positions))
    space = row_space(torch.randn(width, positions, generator=generator) @ rows)
    fast, slow, found = [], [], torch.zeros(0)
    for _ in range(3):
        began = time.monotonic()
        found = vocabulary_distances(table, space, positions)
        fast.append(time.monotonic() - began)
        began = time.monotonic()
        projected_distances(table, space, positions)
        slow.append(time.monotonic() - began)
    ratio = statistics.median(slow) / statistics.median(fast)
    stage = "vocabulary stage, 50,257 tokens, width 768, 16 positions"
    recall = float((found.argmin(0) == ids).float().mean())
    return [
        Row(
            setting=f"{stage}: closed form against projection",
            bar=">= 8x",
            measured=round(ratio, 1),
            unit="x",
            holds=ratio >= 8,
            control=f"projection {statistics.median(slow):.2f} s",
            n=3,
            seconds=round(statistics.median(fast), 3),
            command=COMMAND,
        ),
        Row(
            setting=f"{stage}: recall",
            bar="1.0",
            measured=recall,
            unit="",
            holds=recall == 1.0,
            control=None,
            n=positions,
            seconds=round(statistics.median(fast), 3),
            command=COMMAND,
        ),
    ]
