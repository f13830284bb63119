"""The figure of the releases' errors at equal privacy."""

from collections.abc import Mapping
from pathlib import Path

FIGURE = Path(__file__).parents[1] / "docs" / "guarantees" / "releases.svg"
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
