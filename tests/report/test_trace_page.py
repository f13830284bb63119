import json
from pathlib import Path

import pytest

from unmask.errors import BadInput
from unmask.report import trace_page


def point(layer: str, kind: str, level: int, seconds: float, error: float, largest: float) -> dict[str, object]:
    return {
        "name": f"{layer}.{kind}.{level}",
        "layer": layer,
        "kind": kind,
        "level": level,
        "seconds": seconds,
        "error": error,
        "deviation": error / 3,
        "largest": largest,
    }


POINTS = [
    point("0.attention", "linear", 4, 1.0, 1e-7, 2.0),
    point("0.attention", "square", 3, 0.5, 2e-7, 4.0),
    point("refresh", "bootstrap", 5, 4.0, 1e-4, 0.5),
    point("head", "linear", 4, 0.5, 3e-4, 8.0),
]
TRACE = {
    "version": 1,
    "backend": "openfhe",
    "batch": 2,
    "parameters": {"ring": 16, "levels": 6, "scale": 43},
    "points": POINTS,
}


def test_layers_add_up_their_steps() -> None:
    found = trace_page.layers(POINTS)
    assert [layer.name for layer in found] == ["0.attention", "refresh", "head"]
    first, refresh, _ = found
    assert (first.seconds, first.share, first.first, first.last, first.steps) == (1.5, 37.5, 4, 3, 2)
    assert (first.error, first.largest) == (2e-7, 4.0)
    assert (refresh.bootstraps, refresh.share, first.bootstraps) == (1, 100.0, 0)


def test_a_bootstrap_lifts_the_line_of_levels() -> None:
    line, top = trace_page.levels(POINTS)
    assert top == 5
    assert [round(y) for _, y, _ in line.marks] == [80, 60, 100, 80]
    assert [round(x) for x, _, _ in line.marks] == [0, 33, 67, 100]


def test_noise_is_drawn_on_a_logarithmic_axis() -> None:
    (largest, error, deviation), ticks = trace_page.noise(POINTS)
    assert ticks[0] == ("1e-8", 0.0)
    heights = [y for _, y, _ in error.marks]
    assert heights == sorted(heights)
    assert all(below < above for (_, below, _), (_, above, _) in zip(deviation.marks, largest.marks, strict=True))
    silent = [{**p, "error": 0.0, "deviation": 0.0} for p in POINTS]
    assert all(y == 0.0 for _, y, _ in trace_page.noise(silent)[0][1].marks)


def test_the_page_says_what_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(json.dumps(TRACE))
    page = trace_page.write(tmp_path / "trace.json", tmp_path / "index.html").read_text()
    assert "Two inputs computed encrypted in 6.0 s; the answer is off by 0.0003 at most." in page
    assert "https://" not in page and "seconds are not those of encryption" not in page
    assert "seconds are not those of encryption" in trace_page.render({**TRACE, "backend": "simulator"})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"points": []}', '{"points": [{"name": "x"}]}'])
def test_what_is_no_trace_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "trace.json").write_text(content)
    with pytest.raises(BadInput, match=r"unmask he trace writes"):
        trace_page.read(tmp_path / "trace.json")
    with pytest.raises(BadInput):
        trace_page.read(tmp_path / "missing.json")
