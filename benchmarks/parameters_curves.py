"""Error of images from ordinary trainings over width and number: `python -m benchmarks.parameters_curves`.

Draws what `python -m benchmarks.parameters_ordinary` has logged; needs matplotlib.
"""

import sys
from pathlib import Path
from statistics import median

from benchmarks.parameters_ordinary import LOG, NEAR, Line, lines

FIGURE = Path(__file__).parents[1] / "docs" / "attacks" / "weights-curves.svg"
COUNT, WIDTH = 20, 2048
"""Number of images of the curve over width, and width of that over the number."""
FLOOR = 1e-4
"""Least error that is drawn."""
NONE = 20.0
"""Where an image without a guess is drawn."""


def errors(line: Line) -> list[float]:
    """Return the errors by size, with `NONE` for an image that has no guess."""
    return sorted(max(FLOOR, NONE if each is None else each) for each in line["errors"])


def draw(known: dict[str, Line]) -> None:
    """Write the figure: error and kernel drift over width, the same over the number of images, sorted errors."""
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    points = {(line["count"], line["hidden"][0]): line for line in known.values() if len(line["hidden"]) == 1}
    over_width = sorted((width, line) for (count, width), line in points.items() if count == COUNT)
    over_count = sorted((count, line) for (count, width), line in points.items() if width == WIDTH)
    figure, panels = plt.subplots(1, 3, figsize=(13, 4.2))
    for axes, shown, label in (
        (panels[0], over_width, f"width of the hidden layer, N = {COUNT}"),
        (panels[1], over_count, f"number of images, width {WIDTH}"),
    ):
        at = [place for place, _ in shown]
        axes.loglog(at, [median(errors(line)) for _, line in shown], "-o", ms=4, label="median error")
        axes.loglog(at, [errors(line)[-1] for _, line in shown], "--o", ms=4, color="C0", label="largest error")
        axes.loglog(at, [line["drift"] for _, line in shown], ":s", ms=4, color="C1", label="kernel drift")
        axes.axhline(NEAR, color="0.5", lw=0.8)
        axes.set_xticks(at, [str(place) for place in at])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("L2 error of an image; 1 - cosine of kernels")
    for count, line in over_count:
        found = errors(line)
        rank = [(index + 1) / len(found) for index in range(len(found))]
        panels[2].semilogy(rank, found, label=f"N = {count}")
    panels[2].axhline(NEAR, color="0.5", lw=0.8, label=f"L2 {NEAR:g}")
    panels[2].set_xlabel(f"share of the images, best first, width {WIDTH}")
    panels[2].set_ylabel("L2 error")
    panels[2].legend(fontsize=8)
    for axes in panels:
        axes.grid(True, which="major", alpha=0.3)
    figure.tight_layout()
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    """Draw what is known; 2 if nothing is."""
    known = lines()
    if not known:
        print(f"{LOG.name} is missing; run: python -m benchmarks.parameters_ordinary", file=sys.stderr)
        return 2
    draw(known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
