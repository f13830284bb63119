"""Measure the polynomial topic: `python -m benchmarks.polynomial [PART ...]`, all parts by default."""

import sys

from benchmarks import polynomial_fits, polynomial_models, polynomial_simulator
from benchmarks.rows import save

PARTS = {
    "fits": polynomial_fits.rows,
    "iterations": polynomial_fits.iteration_rows,
    "budget": polynomial_simulator.budget_rows,
    "simulator": polynomial_simulator.rows,
    "encrypted": polynomial_simulator.encrypted_rows,
    "models": polynomial_models.rows,
}


def main(names: list[str]) -> int:
    """Measure the named parts and rewrite their rows; 2 for an unknown name."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"part {unknown[0]!r} is unknown; choose {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in names or PARTS:
        save("polynomial", PARTS[name]())
        print("saved", name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
