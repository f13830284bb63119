"""Draw how robust attacks on the attention surface are: `python -m benchmarks.attention_figure`, from measured rows."""

import re
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, load

FIGURE = Path(__file__).parents[1] / "docs" / "attacks" / "robustness.svg"
TEXT = re.compile(r"MiniLM, (?P<site>\S+) alone, (?P<change>.+): ROUGE-1")
IMAGE = re.compile(r"ViT on Fashion-MNIST, layer 0 block(?:, (?P<change>.+))?, image-newton: mean PSNR")
NOISE = re.compile(r"noise (?P<size>[\d.e+-]+)")
Curves = dict[str, dict[str, tuple[float, float]]]
"""What was seen to what was done to it to (measured, trivial)."""


def curves(rows: tuple[Row, ...]) -> tuple[Curves, Curves]:
    """Return the measured values of texts and of images, by site and by what was done to the tensors."""
    texts: Curves = {}
    pictures: Curves = {}
    for row in rows:
        if (found := TEXT.fullmatch(row.setting)) and isinstance(row.control, str):
            trivial = float(row.control.split()[1].rstrip(","))
            texts.setdefault(found["site"], {})[found["change"]] = (float(row.measured), trivial)
        elif (found := IMAGE.fullmatch(row.setting)) and isinstance(row.control, str):
            grey = float(row.control.split()[-1])
            pictures.setdefault("0.block", {})[found["change"] or "exact"] = (float(row.measured), grey)
    return texts, pictures


def draw(texts: Curves, pictures: Curves, path: Path = FIGURE) -> None:
    """Write four panels: over the noise and over everything else, texts above images; needs matplotlib."""
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(10, 6.4), sharey="row")
    for row, found, unit in ((0, texts, "ROUGE-1"), (1, pictures, "PSNR in dB")):
        _over_noise(panels[row][0], found, unit)
        _others(panels[row][1], found)
    panels[0][0].set_title("text, MiniLM", fontsize=10)
    panels[1][0].set_title("image, ViT of 64 patches", fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _over_noise(axes: Any, found: Curves, unit: str) -> None:
    for site, changes in found.items():
        points = {float(match["size"]): pair for name, pair in changes.items() if (match := NOISE.match(name))}
        sizes = sorted(points)
        (line,) = axes.semilogx(sizes, [points[size][0] for size in sizes], marker="o", ms=3, label=site)
        axes.semilogx(sizes, [points[size][1] for size in sizes], "--", color=line.get_color(), lw=0.8)
    axes.set_xlabel("noise, share of the norm (dashed: trivial guess)")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _others(axes: Any, found: Curves) -> None:
    names = list(dict.fromkeys(name for changes in found.values() for name in changes if not NOISE.match(name)))
    width = 0.8 / max(1, len(found))
    for index, (site, changes) in enumerate(found.items()):
        places = [k + (index - (len(found) - 1) / 2) * width for k in range(len(names))]
        bars = axes.bar(places, [changes.get(name, (0.0, 0.0))[0] for name in names], width, label=site)
        for bar, name in zip(bars, names, strict=True):
            trivial = changes.get(name, (0.0, 0.0))[1]
            axes.hlines(trivial, bar.get_x(), bar.get_x() + width, colors="black", lw=1)
    axes.set_xticks(range(len(names)), [name.replace(" of the rows", "") for name in names], rotation=30, fontsize=8)
    axes.set_xlabel("everything else (black line: trivial guess)")
    axes.grid(axis="y", alpha=0.3)


if __name__ == "__main__":
    draw(*curves(load("attention")))
