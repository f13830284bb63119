"""The figure of the releases' errors at equal privacy."""

from collections.abc import Mapping
from pathlib import Path

FIGURE = Path(__file__).parents[1] / "docs" / "guarantees" / "releases.svg"
STEP_FIGURE = FIGURE.with_name("dp-sgd.svg")
Table = Mapping[int, Mapping[str, float]]
"""Number of records to the error by each release."""


def draw(tables: Mapping[float, Table]) -> None:
    """Write one panel per bound of the scores; needs matplotlib.

    Args:
        tables: bound to its table.
    """
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(tables), figsize=(5 * len(tables), 5.2), sharey=True, squeeze=False)
    for axes, (bound, table) in zip(panels[0], tables.items(), strict=True):
        for name in next(iter(table.values())):
            style = "--" if "no attention" in name or "without data" in name else "-"
            axes.loglog(list(table), [found[name] for found in table.values()], style, marker="o", ms=3, label=name)
        axes.set_xlabel("records in the store")
        axes.set_title(f"scores within {bound:g}", fontsize=10)
        axes.grid(True, which="major", alpha=0.3)
    panels[0][0].set_ylabel("mean L2 error of an answer")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, fontsize=8)
    figure.suptitle("Equal privacy: epsilon 1, delta 1e-6, one record replaced", fontsize=11)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)


def draw_step(
    released: Mapping[float, Mapping[str, float]],
    before: Mapping[str, float],
    utility: Mapping[float, float],
    names: Mapping[str, str],
    named: Mapping[float, float],
) -> None:
    """Write what each attack gets of a DP-SGD step over the noise, and what the model is worth; needs matplotlib.

    Args:
        released: sigma to ROUGE-1 by attack, on what is released.
        before: the same on the reading before clipping and noise.
        utility: sigma to accuracy, where it was measured.
        names: attack to its name in the legend.
        named: sigma to the share of sentences that are picked rightly out of a list of candidates.
    """
    import matplotlib as mpl  # an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "unmask"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.4))
    for index, (key, name) in enumerate(names.items()):
        colour = f"C{index}"
        shown = [(sigma, row[key]) for sigma, row in released.items() if key in row]
        axes.semilogx([s for s, _ in shown], [v for _, v in shown], "-o", ms=4, color=colour, label=name)
        axes.axhline(before[key], color=colour, linestyle=":", lw=1.2)
    if utility:
        worth = sorted(utility.items())
        axes.semilogx([s for s, _ in worth], [u for _, u in worth], "--s", ms=4, color="0.4", label="accuracy")
    if named:
        listed = sorted(named.items())
        axes.semilogx(
            [s for s, _ in listed], [v for _, v in listed], "-^", ms=4, color="0.1", label="named from a list"
        )
    axes.plot([], [], ":", color="0.4", label="dotted: before clipping and noise")
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("sigma")
    axes.set_ylabel("ROUGE-1, share named, accuracy")
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(STEP_FIGURE, metadata={"Date": None})
    plt.close(figure)
