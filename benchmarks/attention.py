"""Measure the attention surface: `python -m benchmarks.attention [--saved] [PART ...]`, all parts by default.

With `--saved` the rows about texts are made of what their log holds, and nothing is computed.
"""

import sys
from importlib import import_module

from benchmarks import attention_text
from benchmarks.harness import threads
from benchmarks.rows import save

# A part is imported when it is measured: texts need a tokenizer, images a trained model, the problem neither.
PARTS = {
    "first": ("attention_text", "first"),
    "deeper": ("attention_text", "deeper"),
    "causal": ("attention_text", "causal"),
    "robust": ("attention_text", "robust"),
    "solver": ("attention_problem", "solver"),
    "held": ("attention_problem", "held"),
    "near": ("attention_problem", "near"),
    "speed": ("attention_problem", "speed"),
    "scale": ("attention_problem", "scale"),
    "images": ("attention_images", "measured"),
}


SAVED = "--saved"


def main(names: list[str]) -> int:
    """Measure the named parts and rewrite their rows; 2 for an unknown name."""
    attention_text.MEASURING = SAVED not in names
    names = [name for name in names if name != SAVED]
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
