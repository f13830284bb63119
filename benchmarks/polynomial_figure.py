"""The figure of the best possible error by degree: `python -m benchmarks.polynomial_figure`."""

from pathlib import Path

from unmask.poly.fits import minimax

FIGURE = Path(__file__).parents[1] / "docs" / "poly" / "fits.svg"
DEGREES = (1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 23, 27, 31, 39, 47, 55, 63)
PANELS = {
    "GELU": {f"+-{radius:g}": ("gelu", (-radius, radius)) for radius in (4.0, 8.0, 20.0, 70.0)},
    "1/sqrt(v)": {f"[1, {high:g}]": ("inverse-sqrt", (1.0, high)) for high in (10.0, 30.0, 300.0, 3300.0)},
}


def draw() -> None:
    """Write one panel per function; needs matplotlib."""
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(PANELS), figsize=(10, 4), sharey=True)
    for axes, (name, lines) in zip(panels, PANELS.items(), strict=True):
        for label, (function, interval) in lines.items():
            errors = [minimax(function, interval, degree).error for degree in DEGREES]
            axes.semilogy(DEGREES, errors, marker="o", ms=3, label=label)
        for degree in (3, 7, 15, 31, 63):
            axes.axvline(degree, color="k", lw=0.5, ls=":")
        axes.set_ylim(1e-10, 60)
        axes.set_xlabel("degree (dotted: 2, 3, 4, 5, 6 levels)")
        axes.set_title(name, fontsize=10)
        axes.grid(True, axis="y", alpha=0.3)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("certified largest error of the best fit")
    figure.tight_layout()
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw()
