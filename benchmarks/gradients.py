"""Measure the gradient surface: `python -m benchmarks.gradients [PART ...]`, all parts by default."""

import sys

from benchmarks import gradient_batch, gradient_causal, gradient_grid, gradient_noise, gradient_parts
from benchmarks.harness import threads
from benchmarks.rows import Row, save


def grid() -> list[Row]:
    """Measure what the grid's log lacks, then make its rows."""
    gradient_grid.measure()
    return gradient_grid.rows()


def batch() -> list[Row]:
    """Measure what the batches' log lacks, then make their rows."""
    gradient_batch.measure()
    return gradient_batch.rows()


PARTS = {
    "first-layer": gradient_parts.first_layer,
    "vocabulary": gradient_parts.vocabulary,
    "batch": batch,
    "causal": gradient_causal.causal,
    "grid": grid,
    "published": gradient_parts.published,
    "noisy": gradient_noise.noisy,
}


def main(names: list[str]) -> int:
    """Measure the named parts and rewrite their rows; 2 for an unknown name."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"part {unknown[0]!r} is unknown; choose {', '.join(PARTS)}", file=sys.stderr)
        return 2
    threads()
    for name in names or PARTS:
        save("gradients", PARTS[name]())
        print("saved", name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
