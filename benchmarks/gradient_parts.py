"""The rows of the gradient surface beside the grid; each function measures one bar."""

import statistics
import time
from collections.abc import Sequence

import torch

from benchmarks.gradient_grid import COMMAND
from benchmarks.harness import Bench, Run, mean, sentences
from benchmarks.rows import Row
from unmask.attacks.lamp import Lamp
from unmask.attacks.span import SpanSearch
from unmask.attacks.vocabulary_test import projected_distances, vocabulary_distances
from unmask.public import InputTable
from unmask.subspace import row_space

FIRST = (
    "one sentence a cell, one thread, other work beside it; the span search's seconds hold the public probes of "
    "the place (10 to 17 s), which are measured once per model and place and serve all later sentences"
)
BASELINE_CELLS = ("0.query", "0.ffn.out", "1.value", "2.ffn.in", "3.query", "4.key")


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


def published(count: int = 1, seconds: float = 900) -> list[Row]:
    """The published method beside the span search on the same observations."""
    bench, rows = Bench(None, sentences(30), count=count + 1, longest=24), []
    for select in BASELINE_CELLS:
        ours, theirs = [], []
        for i in range(count):
            ours.append(bench.run(i, select, SpanSearch(), 60))
            theirs.append(bench.run(i, select, Lamp(), seconds))
            print(
                select,
                i,
                ours[-1].scores,
                round(ours[-1].seconds, 1),
                theirs[-1].scores,
                round(theirs[-1].seconds, 1),
                flush=True,
            )
        a, b = mean(ours, "rouge1"), mean(theirs, "rouge1")
        two_a, two_b = mean(ours, "rouge2"), mean(theirs, "rouge2")
        ratio = statistics.fmean(r.seconds for r in theirs) / statistics.fmean(r.seconds for r in ours)
        exact = mean(ours, "exact_match") == 1
        measured = f"R-1 {a:.3f} / R-2 {two_a:.3f}, {ratio:.0f}x faster"
        control = f"R-1 {b:.3f} / R-2 {two_b:.3f}"
        better = (a, two_a) > (b, two_b) and a >= b
        bar = "higher ROUGE; >= 20x faster" if exact else "higher ROUGE"
        rows.append(
            _row(
                f"MiniLM, {select}: span search against LAMP cosine, 2,000 steps",
                bar,
                measured,
                better and (not exact or ratio >= 20),
                theirs,
                control=control,
                reason=FIRST,
            )
        )
    return rows


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
