"""Draw what enters each non-linearity after each stage: `python -m benchmarks.polynomial_ranges [NAME ...]`."""

import json
import sys
from pathlib import Path

from benchmarks.polynomial_recipes import MODELS

FOLDER = Path(__file__).parents[1] / "docs" / "poly"
SHOWN = {"replace": "before range training", "range": "after it", "polynomial": "as polynomials"}


def draw(name: str) -> Path:
    """Write one figure of bars from the smallest to the largest input of each site; needs matplotlib.

    Args:
        name: of a recipe whose stages are in `results/models`.
    """
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    stages = json.loads((MODELS / f"polynomial-{name}-stages.json").read_text(encoding="utf-8"))
    found = [(SHOWN[stage["name"]], stage["ranges"]) for stage in stages if stage["name"] in SHOWN]
    sites = list(found[0][1])
    figure, axes = plt.subplots(figsize=(7.5, 0.55 * len(sites) + 1.6))
    for at, (label, ranges) in enumerate(found):
        lows, highs = ([ranges[site][end] for site in sites] for end in (0, 1))
        places = [index + 0.26 * (at - (len(found) - 1) / 2) for index in range(len(sites))]
        widths = [high - low for low, high in zip(lows, highs, strict=True)]
        axes.barh(places, widths, height=0.22, left=lows, label=label)
    axes.set_yticks(range(len(sites)), [_short(site) for site in sites], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", lw=0.6)
    axes.set_xlabel("smallest to largest input on the held-out part")
    axes.grid(True, axis="x", alpha=0.3)
    figure.legend(loc="lower center", ncols=len(found), fontsize=8)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    path = FOLDER / f"ranges-{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _short(site: str) -> str:
    _, layer, room, *_ = site.split(".")
    return f"layer {int(layer) + 1}, {'scores' if room == 'attention' else 'hidden units'}"


if __name__ == "__main__":
    for each in sys.argv[1:] or ["fashion"]:
        print(draw(each))
