"""A polynomial beside what it approximates, as text or as a picture."""

from pathlib import Path

import numpy as np

from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.targets import Target


def text(polynomial: Polynomial, target: Target, *, width: int = 72, height: int = 13) -> str:
    """Return the error over the interval, drawn with characters.

    Args:
        polynomial: p.
        target: f.
        width: columns.
        height: rows, odd so that zero has one of its own.
    """
    low, high = polynomial.interval
    # Each column shows the whole span of its samples, so that no extremum is lost between two.
    samples = np.linspace(low, high, 16 * width)
    errors = (polynomial(samples) - target(samples)).reshape(width, 16)
    largest = float(np.abs(errors).max()) or 1.0
    rows = _rows(errors / largest, height)
    lines = []
    for row in range(height):
        label = f"{largest * (1 - 2 * row / (height - 1)):+.1e}" if row in (0, height // 2, height - 1) else ""
        blank = "-" if row == height // 2 else " "
        lines.append(f"{label:>9} |" + "".join("*" if row in found else blank for found in rows))
    ends = f"{low:g}" + f"{high:g}".rjust(width - len(f"{low:g}"))
    return "\n".join([*lines, " " * 11 + ends])


def picture(path: Path, polynomial: Polynomial, target: Target) -> None:
    """Write function and polynomial above, their difference below; needs matplotlib.

    Args:
        path: .png or .svg.
        polynomial: p.
        target: f.
    """
    from matplotlib.figure import Figure  # an extra

    low, high = polynomial.interval
    x = np.linspace(low, high, 2000)
    figure = Figure(figsize=(7, 5))
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(x, target(x), "k-", lw=2.5, alpha=0.35, label=target.name)
    above.plot(x, polynomial(x), "C0-", lw=1.2, label=f"degree {polynomial.degree}")
    above.legend()
    above.grid(alpha=0.3)
    below.plot(x, polynomial(x) - target(x), "C3-", lw=1.0)
    for bound in (polynomial.error, -polynomial.error):
        below.axhline(bound, color="k", lw=0.8, ls="--")
    below.set_ylabel("error, certified bound dashed")
    below.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _rows(errors: Array, height: int) -> list[set[int]]:
    places = np.rint((1 - errors) / 2 * (height - 1)).astype(int)
    return [set(range(int(column.min()), int(column.max()) + 1)) for column in places]
