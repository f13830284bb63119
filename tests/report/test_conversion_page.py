import json
from pathlib import Path

import pytest

from unmask.errors import BadInput
from unmask.report import conversion_page

STAGES = [
    {"name": "range", "metric": {"accuracy": 0.91, "loss": 0.3}, "ranges": {"a.<b>": [-9.0, 4.0]}, "seconds": 30.0},
    {
        "name": "substitute",
        "metric": {"accuracy": 0.9, "loss": 0.31},
        "ranges": {"a.<b>": [-3.0, 4.5]},
        "seconds": 10.0,
        "levels": 25,
        "degrees": {"a.<b>": 15},
    },
]


def test_rows_count_bootstraps_and_places_show_ranges_before_and_after() -> None:
    first, ranged, last = conversion_page.rows(STAGES, 12, {"accuracy": 0.92})
    assert (first.name, first.accuracy, first.loss, first.levels) == ("original", 0.92, None, 0)
    assert (ranged.largest, ranged.levels, ranged.bootstraps, ranged.share) == (9.0, 0, 0, 100.0)
    assert (last.largest, last.levels, last.bootstraps) == (4.5, 25, 2)  # 12, and 12 and 12 after a bootstrap each
    (place,) = conversion_page.places(STAGES)
    assert (place.degree, place.first, place.last) == (15, (-9.0, 4.0), (-3.0, 4.5))


def test_page_is_whole_and_escapes_names(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text(json.dumps(STAGES), encoding="utf-8")
    page = conversion_page.write(tmp_path / "stages.json", tmp_path / "page.html", refreshed=12, source="<i>me</i>")
    text = page.read_text(encoding="utf-8")
    assert "&lt;i&gt;me&lt;/i&gt; is a polynomial of 25 levels" in text and "a.&lt;b&gt;" in text
    assert "≥ 2" in text and "http://" not in text and "https://" not in text and "<script" not in text


def test_page_says_who_leaves_the_intervals_and_shortens_paths(tmp_path: Path) -> None:
    ranges = {"module.net.0.act": [-1.0, 2.0], "module.net.1.act": [-3.0, 4.0], "module.net.1.norm.root": [0.5, 4.0]}
    assert conversion_page.shared(ranges) == "module.net."
    assert conversion_page.shared(["one.site"]) == conversion_page.shared(["a.b", "c.d"]) == ""
    assert conversion_page.shared(["act", "net.act"]) == ""
    (tmp_path / "stages.json").write_text(json.dumps([STAGES[1] | {"ranges": ranges}]), encoding="utf-8")

    def page(inside: float | None, farthest: float) -> str:
        out = tmp_path / "page.html"
        conversion_page.write(tmp_path / "stages.json", out, refreshed=12, inside=inside, farthest=farthest)
        return out.read_text(encoding="utf-8")

    out = page(0.875, 1.204)
    assert "87.50 % of held-out inputs" in out and "1.2 halves" in out and "Do not rely" in out
    assert ">1.norm.root<" in out and "<code>module.net</code>" in out
    assert out.count("-3 to 4<") == 1  # one stage is first and last
    assert "the farthest uses 93 % of one" in page(1.0, 0.93) and "held-out inputs stay" not in page(None, 0.0)


def test_files_that_hold_no_stages_are_refused(tmp_path: Path) -> None:
    for content in ("", "{}", "[]", '[{"name": "range"}]'):
        (tmp_path / "stages.json").write_text(content, encoding="utf-8")
        with pytest.raises(BadInput, match=r"give the stages.json"):
            conversion_page.read(tmp_path / "stages.json")
