"""Draw the utility figures of the guarantee pages from the measured rows: `python -m benchmarks.privacy_pages`."""

import re
from collections.abc import Iterable
from typing import Any

from benchmarks.privacy_figure import FIGURE
from benchmarks.rows import Row, load

DECODING = re.compile(r"Bounded decoding, 50 tokens, span (?P<change>\w+), epsilon (?P<epsilon>[\d.]+),")
MATRIX = re.compile(r"Attention matrix of (?P<count>[\d,]+) tokens, one token moved by (?P<radius>[\d.]+),")
FOUND = re.compile(r"token noise (?P<token>[\d.]+), published (?P<published>[\d.]+);")


def decoding(rows: Iterable[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return (epsilon, share of the span's information that is used) for the span removed and replaced."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if match := DECODING.match(row.setting):
            found.setdefault(match["change"], []).append((float(match["epsilon"]), float(str(row.measured))))
    return {change: sorted(points) for change, points in found.items()}


def matrix(rows: Iterable[Row]) -> dict[float, list[tuple[int, float, float]]]:
    """Return (tokens, error of token noise, error of the published release) by how far one token moves."""
    found: dict[float, list[tuple[int, float, float]]] = {}
    for row in rows:
        match, errors = MATRIX.match(row.setting), FOUND.match(str(row.measured))
        if match and errors:
            count = int(match["count"].replace(",", ""))
            line = (count, float(errors["token"]), float(errors["published"]))
            found.setdefault(float(match["radius"]), []).append(line)
    return {radius: sorted(lines) for radius, lines in sorted(found.items())}


def main() -> None:
    """Write both figures; needs matplotlib."""
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    rows = load("privacy")
    figure, axes = plt.subplots(figsize=(6, 3.8))
    for change, points in decoding(rows).items():
        axes.semilogx([e for e, _ in points], [share for _, share in points], "-o", ms=4, label=f"span {change}")
    _finish(figure, axes, "epsilon, delta 1e-5, 50 tokens", "share of the span's information that is used")
    figure.savefig(FIGURE.with_name("decoding.svg"), metadata={"Date": None})
    figure, axes = plt.subplots(figsize=(6, 3.8))
    for index, (radius, lines) in enumerate(matrix(rows).items()):
        counts = [count for count, _, _ in lines]
        axes.semilogx(counts, [t for _, t, _ in lines], "-o", ms=4, color=f"C{index}", label=f"token noise, {radius:g}")
        axes.semilogx(
            counts, [p for _, _, p in lines], "--s", ms=4, color=f"C{index}", label=f"published release, {radius:g}"
        )
    _finish(figure, axes, "tokens", "total variation of an attention row")
    figure.savefig(FIGURE.with_name("matrix.svg"), metadata={"Date": None})


def _finish(figure: Any, axes: Any, below: str, beside: str) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    axes.set_ylim(0, 1)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()


if __name__ == "__main__":
    main()
