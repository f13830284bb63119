"""The span search beside the published method, on the same observations in the same run."""

import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.gradient_grid import COMMAND
from benchmarks.harness import Bench, Run, mean, sentences, threads
from benchmarks.rows import Row, save
from unmask.attacks.matching.lamp import Lamp
from unmask.attacks.span import SpanSearch

CELLS = ("0.query", "0.ffn.out", "1.value", "2.ffn.in", "3.query", "4.key")
AGAIN = (
    "{count} sentence(s) a cell, first of the draw; the span search's seconds hold the public probes of the place, "
    "which serve all later sentences there: with them at hand {known:.1f} s, {later:.0f}x faster; processor seconds"
)


def published(count: int = 1, seconds: float = 900, cells: Sequence[str] = CELLS) -> list[Row]:
    """One row per cell: ROUGE of both methods, and how much faster the span search is, public probes included."""
    bench, rows = Bench(None, sentences(30), count=count + 1), []
    for select in cells:
        # The probes are kept for the last place only, so the first run at a place pays for them and the second not.
        ours = [bench.run(i, select, SpanSearch(), 60, clock=time.process_time) for i in range(count)]
        again = [bench.run(i, select, SpanSearch(), 60, clock=time.process_time) for i in range(count)]
        theirs = [bench.run(i, select, Lamp(), seconds, clock=time.process_time) for i in range(count)]
        rows.append(_row(select, ours, again, theirs))
        print(rows[-1].setting, rows[-1].measured, rows[-1].control, rows[-1].reason, flush=True)
    return rows


def _row(select: str, ours: list[Run], again: list[Run], theirs: list[Run]) -> Row:
    one, two = mean(ours, "rouge1"), mean(ours, "rouge2")
    peer_one, peer_two = mean(theirs, "rouge1"), mean(theirs, "rouge2")
    first, known, slow = (statistics.fmean(r.seconds for r in runs) for runs in (ours, again, theirs))
    exact = mean(ours, "exact_match") == 1
    return Row(
        setting=f"MiniLM, {select}: span search against LAMP cosine, 2,000 steps",
        bar="higher ROUGE; >= 20x faster" if exact else "higher ROUGE",
        measured=f"R-1 {one:.3f} / R-2 {two:.3f}, {slow / first:.0f}x faster",
        unit="",
        holds=(one, two) > (peer_one, peer_two) and one >= peer_one and (not exact or slow / first >= 20),
        control=f"R-1 {peer_one:.3f} / R-2 {peer_two:.3f}",
        n=len(theirs),
        seconds=round(sum(r.seconds for r in theirs), 1),
        command=COMMAND,
        reason=AGAIN.format(count=len(ours), known=known, later=slow / known),
    )


if __name__ == "__main__":
    # python -m benchmarks.gradient_published [CELL ...]: measure some cells again
    threads()
    save("gradients", published(cells=sys.argv[1:] or CELLS))
