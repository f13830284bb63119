"""A study as one self-contained page: a table, accuracy of every run, and ranges before and after."""

import math
from collections.abc import Callable, Sequence
from html import escape

from unmask.poly.study.outcome import BASE, TWIN, Outcome, Summary, cells, summaries

WIDTH, LABEL, ROW, FOOT = 720, 170, 22, 40
HEADINGS = (
    "variant",
    "finished",
    "accuracy, mean",
    "sd",
    "worst",
    "change when substituted",
    "largest input before",
    "after",
    "levels",
)
STYLE = """
:root{color-scheme:light dark;--ink:#1c1c1c;--soft:#767676;--rule:#ddd;--one:#2a6f97;--two:#c1541c;--ground:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#9a9a9a;--rule:#3a3a3a;--one:#74b8dd;--two:#f0925c;
--ground:#161616}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:60rem;margin:2rem auto;
padding:0 1rem}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .7rem;border-bottom:1px solid var(--rule);text-align:right}
td:first-child,th:first-child{text-align:left}
.wide{overflow-x:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
svg .tick{fill:var(--soft)}
"""


def page(outcomes: Sequence[Outcome], *, task: str, baseline: float) -> str:
    """Return the page as HTML that loads nothing.

    Args:
        outcomes: of all runs.
        task: what was learned, as a sentence.
        baseline: share of the most common class.
    """
    found = summaries(outcomes)
    failed = [f"<li>{escape(each.variant)}: {escape(why)}</li>" for each in found for why in each.stopped]
    stopped = f"<h2>Stopped runs</h2><ul>{''.join(failed)}</ul>" if failed else ""
    seeds = max(each.runs for each in found)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Stability study</title>'
        f"<style>{STYLE}</style></head><body><h1>Stability study</h1>"
        f"<p>{escape(task)} One factor differs from the base in each row; {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'} a row. Accuracies are of the test part, in per cent; the most common "
        f"class alone has {100 * baseline:.1f}.</p>"
        f'<div class="wide">{_table(found)}</div>{stopped}'
        f'<h2>Accuracy of every run</h2><div class="wide">{accuracies(outcomes, baseline)}</div>'
        "<h2>Largest input of a non-linearity</h2>"
        "<p>Median over seeds, logarithmic: before range training and of the polynomials that remain.</p>"
        f'<div class="wide">{ranges(found)}</div></body></html>\n'
    )


def _table(found: Sequence[Summary]) -> str:
    head = "".join(f"<th>{name}</th>" for name in HEADINGS)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(_row(each) for each in found)}</tbody></table>"


def _row(each: Summary) -> str:
    shown = (escape(each.variant), f"{each.finished} of {each.runs}", *cells(each)[2:])
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in shown) + "</tr>"


def accuracies(outcomes: Sequence[Outcome], baseline: float) -> str:
    """Return a figure with one row a variant and one mark a run: a dot, or a cross at the left if it was stopped.

    Args:
        outcomes: of all runs.
        baseline: where the axis starts, at most.
    """
    found = summaries(outcomes)
    good = [run.accuracy for run in outcomes if not run.stopped]
    low, high = min([baseline, *good]), max([baseline + 0.01, *good])
    place = _scale(low, high)
    parts = [_axis(len(found), [low + (high - low) * step / 4 for step in range(5)], place, lambda x: f"{100 * x:.0f}")]
    twin = next((each.mean for each in found if each.variant == TWIN and each.finished), None)
    if twin is not None:
        parts.append(_line(place(twin), len(found), "var(--soft)", dashed=True))
    for at, each in enumerate(found):
        parts.append(_label(each.variant, at))
        for run in (run for run in outcomes if run.variant == each.variant):
            colour = "var(--two)" if run.factor in (BASE, TWIN) else "var(--one)"
            parts.append(_cross(at) if run.stopped else _dot(place(run.accuracy), at, colour))
    return _figure(parts, len(found), "accuracy in per cent; dashed: the mean of the soft-max twin")


def ranges(found: Sequence[Summary]) -> str:
    """Return a figure with two bars a variant, on a logarithmic axis.

    Args:
        found: the rows; those without ranges are left out.
    """
    shown = [each for each in found if not math.isnan(each.before)]
    sizes = [math.log10(size) for each in shown for size in (each.before, each.after) if size > 0]
    if not sizes:
        return "<p>No run has ranges.</p>"
    low, high = min(0.0, float(math.floor(min(sizes)))), max(1.0, float(math.ceil(max(sizes))))
    place = _scale(low, high)
    ticks = [low + step for step in range(int(high - low) + 1)]
    parts = [_axis(len(shown), ticks, place, lambda x: f"{10**x:g}")]
    for at, each in enumerate(shown):
        parts.append(_label(each.variant, at))
        for offset, size, colour in ((4, each.before, "var(--two)"), (11, each.after, "var(--one)")):
            if not math.isnan(size):
                length = max(place(math.log10(size)) - LABEL, 1.0)
                parts.append(
                    f'<rect x="{LABEL}" y="{at * ROW + offset}" width="{length:.1f}" height="6" fill="{colour}"/>'
                )
    return _figure(parts, len(shown), "upper bar: before range training; lower bar: of the polynomials that remain")


def _scale(low: float, high: float) -> Callable[[float], float]:
    return lambda x: LABEL + (WIDTH - LABEL - 20) * (x - low) / (high - low)


def _figure(parts: list[str], rows: int, caption: str) -> str:
    height = rows * ROW + FOOT
    foot = f'<text class="tick" x="{LABEL}" y="{height - 4}">{escape(caption)}</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(caption)}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}{foot}</svg>'
    )


def _axis(rows: int, ticks: list[float], place: Callable[[float], float], name: Callable[[float], str]) -> str:
    return "".join(
        _line(place(tick), rows, "var(--rule)")
        + f'<text class="tick" x="{place(tick):.1f}" y="{rows * ROW + 15}" text-anchor="middle">{name(tick)}</text>'
        for tick in ticks
    )


def _line(x: float, rows: int, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{rows * ROW}" stroke="{colour}"{dash}/>'


def _label(name: str, at: int) -> str:
    return f'<text x="{LABEL - 8}" y="{at * ROW + 15}" text-anchor="end">{escape(name)}</text>'


def _dot(x: float, at: int, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{at * ROW + 11}" r="4" fill="{colour}" fill-opacity="0.75"/>'


def _cross(at: int) -> str:
    x, y = LABEL + 6, at * ROW + 11
    return f'<path d="M{x - 4} {y - 4}l8 8m0-8l-8 8" stroke="var(--two)" stroke-width="2"/>'
