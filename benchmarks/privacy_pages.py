"""Draw the utility figures of the guarantee pages from the measured rows: `python -m benchmarks.privacy_pages`."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from opacus.accountants import RDPAccountant

from benchmarks.privacy_figure import FIGURE
from benchmarks.rows import Row, load
from unmask.privacy import accountant
from unmask.privacy.tradeoff import advantage, approximate, success

DECODING = re.compile(r"Bounded decoding, 50 tokens, span (?P<change>\w+), epsilon (?P<epsilon>[\d.]+),")
MATRIX = re.compile(r"Attention matrix of (?P<count>[\d,]+) tokens, one token moved by (?P<radius>[\d.]+),")
TRAINED = re.compile(
    r"MiniLM on Rotten Tomatoes, (?P<what>.+?), (?:epsilon (?P<epsilon>[\d.]+) at delta 0.0001|non-private): accuracy"
)
WORDS = re.compile(r"Epsilon in words, epsilon (?P<epsilon>[\d.]+), .*: one of (?P<kind>two inputs|100 values)")
STEPS = ((1000 / 8528, 26, "1,000 of 8,528 in 26 steps"), (1.0, 40, "all in 40 steps"))
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
    """Write the figures; needs matplotlib."""
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
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
    _noise(left)
    _finish(figure, left, "epsilon", "sigma that it takes", top=None)
    _trained(right, rows)
    _finish(figure, right, "epsilon, delta 1e-4", "accuracy on held-out reviews", bottom=0.45, top=0.85)
    figure.savefig(FIGURE.with_name("accounting.svg"), metadata={"Date": None})
    figure, axes = plt.subplots(figsize=(6, 3.8))
    _attacker(axes, rows)
    _trained(axes, rows, only="head on")
    _finish(figure, axes, "epsilon", "share right", top=1.03)
    figure.savefig(FIGURE.with_name("words.svg"), metadata={"Date": None})


def trained(rows: Iterable[Row]) -> dict[str, dict[float | None, float]]:
    """Return accuracy over epsilon, None without privacy, by what is trained."""
    found: dict[str, dict[float | None, float]] = {}
    for row in rows:
        if match := TRAINED.match(row.setting):
            epsilon = None if match["epsilon"] is None else float(match["epsilon"])
            found.setdefault(match["what"], {})[epsilon] = float(str(row.measured).split()[0].rstrip(","))
    return found


def _noise(axes: Any) -> None:
    for index, (rate, steps, name) in enumerate(STEPS):
        sigmas = np.geomspace(0.7, 40, 24) if rate < 1 else np.geomspace(4, 120, 24)
        losses = [accountant.epsilon_of(float(s), rate, steps, 1e-4) for s in sigmas]
        looser = []
        for sigma in sigmas:
            other = RDPAccountant()
            other.history = [(float(sigma), rate, steps)]
            looser.append(other.get_epsilon(1e-4))
        axes.loglog(losses, sigmas, "-", color=f"C{index}", label=f"PLD, {name}")
        axes.loglog(looser, sigmas, "--", color=f"C{index}", label=f"RDP, {name}")
    axes.set_xlim(0.3, 12)


def _trained(axes: Any, rows: Iterable[Row], *, only: str = "") -> None:
    chosen = {what: worth for what, worth in trained(rows).items() if what.startswith(only)}
    for index, (what, worth) in enumerate(chosen.items()):
        points = sorted((e, a) for e, a in worth.items() if e is not None)
        colour = f"C{index + 2}"
        axes.semilogx(
            [e for e, _ in points], [a for _, a in points], "-s", ms=4, color=colour, label=what.split(" (")[0]
        )
        if None in worth:
            axes.axhline(worth[None], color=colour, linestyle=":", lw=1.2)


def _attacker(axes: Any, rows: Iterable[Row]) -> None:
    grid = np.geomspace(0.1, 8, 60)
    axes.semilogx(grid, [(1 + advantage(float(e), 1e-5)) / 2 for e in grid], color="C0", label="stated: one of two")
    stated = [success(0.01, approximate(float(e), 1e-5)) for e in grid]
    axes.semilogx(grid, stated, color="C1", label="stated: one of 100, at most")
    for match, row in ((WORDS.match(row.setting), row) for row in rows):
        if match:
            colour = "C0" if match["kind"] == "two inputs" else "C1"
            axes.plot(float(match["epsilon"]), float(str(row.measured).split()[0]), "o", ms=4, color=colour)
    axes.plot([], [], "o", ms=4, color="0.4", label="dots: best attacker, measured")


def _finish(
    figure: Any, axes: Any, below: str, beside: str, *, bottom: float | None = 0, top: float | None = 1
) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    if top is not None:
        axes.set_ylim(bottom, top)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()


if __name__ == "__main__":
    main()
