"""Measure the attention surface: `python -m benchmarks.attention [PART ...]`, all parts by default."""

import sys
from importlib import import_module

from benchmarks.harness import threads
from benchmarks.rows import save

# A part is imported when it is measured: texts need a tokenizer, images a trained model, the problem neither.
PARTS = {
    "first": ("attention_text", "first"),
    "deeper": ("attention_text", "deeper"),
    "causal": ("attention_text", "causal"),
    "robust": ("attention_text", "robust"),
    "problem": ("attention_problem", "rows"),
    "images": ("attention_images", "rows"),
}


def main(names: list[str]) -> int:
    """Measure the named parts and rewrite their rows; 2 for an unknown name."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"part {unknown[0]!r} is unknown; choose {', '.join(PARTS)}", file=sys.stderr)
        return 2
    threads()
    for name in names or PARTS:
        module, function = PARTS[name]
        save("attention", getattr(import_module(f"benchmarks.{module}"), function)())
        print("saved", name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
