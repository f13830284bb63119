"""Encrypted inference: `python -m benchmarks.encrypted [PART ...]`, all parts by default.

Each part measures what its log lacks. `operations` are single operations and layers, `models` whole networks,
`surface` attacks on what the server sees.
"""

import sys

from benchmarks import encrypted_models, encrypted_operations, encrypted_surface
from benchmarks.rows import save

PARTS = ("operations", "models", "surface")


def main(names: list[str]) -> int:
    """Measure the named parts and rewrite their rows; 2 for an unknown name."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"part {unknown[0]!r} is unknown; choose {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in names or PARTS:
        if name == "operations":
            known = encrypted_operations.logged()
            encrypted_operations.measure([case for case in encrypted_operations.CASES if case not in known])
            save("encrypted", encrypted_operations.rows())
        elif name == "surface":
            save("encrypted", encrypted_surface.rows())
        else:
            missing = [case for case in encrypted_models.CASES if not encrypted_models.lines(case)]
            for case in missing:
                encrypted_models.measure(case, 3)
            save("encrypted", encrypted_models.rows())
        print("saved", name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
