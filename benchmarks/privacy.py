"""Measure the privacy room: `python -m benchmarks.privacy [PART ...]`, all parts by default."""

import sys

from benchmarks import (
    privacy_accounting,
    privacy_audit,
    privacy_decoding,
    privacy_gradient,
    privacy_releases,
    privacy_selftest,
    privacy_smollm,
    privacy_training,
)
from benchmarks.rows import save

PARTS = {
    "wishart": privacy_accounting.wishart_rows,
    "radius": privacy_accounting.radius_rows,
    "dp-sgd": privacy_accounting.dp_sgd_rows,
    "read": privacy_releases.read_rows,
    "matrix": privacy_releases.matrix_rows,
    "decoding": privacy_decoding.rows,
    "audit": privacy_audit.rows,
    "selftest": privacy_selftest.rows,
    "smollm": privacy_smollm.rows,
    "training": privacy_training.rows,
    "gradient": privacy_gradient.rows,
}


def main(names: list[str]) -> int:
    """Measure the named parts and rewrite their rows; 2 for an unknown name."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"part {unknown[0]!r} is unknown; choose {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in names or PARTS:
        save("privacy", PARTS[name]())
        print("saved", name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
