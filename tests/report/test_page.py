"""The page: right numbers, nothing loaded, nothing run, everything escaped."""

import errno
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.synthetic import ABSENT, COMPONENTS, KNOWLEDGE, TEXTS, WHY_ABSENT, Make, everything, record, redact
from unmask.errors import BadInput, StorageError
from unmask.report import page


class Reader(HTMLParser):
    """Collects tags, attributes, the heat map's squares and the text outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.rows: list[list[dict[str, str]]] = []
        self.titles: dict[str, str] = {}
        self._shade = ""
        self._title = ""
        self._silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        classes = found.get("class", "").split()
        self.tags.append((tag, found))
        self._silent = tag in ("script", "style")
        if tag == "tr":
            self.rows.append([])
        elif tag == "td" and "sq" in classes:
            self.rows[-1].append({})
            self._title = found["title"]
        elif tag == "a" and found["href"].startswith("#cell-"):
            self.titles[found["href"]] = self._title
        elif tag == "span" and "v" in classes:
            self._shade = classes[1][2:]

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        if tag == "span":
            self._shade = ""

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        self.text += data
        if self._shade:
            self.rows[-1][-1][self._shade] = data


def read(folder: Path) -> Reader:
    """Write the page of a run and parse it."""
    reader = Reader()
    reader.feed(page.write(folder).read_text(encoding="utf-8"))
    return reader


def test_heat_map_shows_the_mean_of_every_cell(make: Make) -> None:
    squares = [row for row in read(make()).rows if row][:7]
    by_place = {(layer, name): squares[layer][i] for layer in range(6) for i, name in enumerate(COMPONENTS)}
    for place, square in by_place.items():
        if place == ABSENT:
            assert set(square.values()) == {"absent"}
            continue
        mine = [
            r for r in everything() if (r.cell.layer, r.cell.component) == place and r.attack["role"] == "strongest"
        ]
        for metric in ("rouge1", "rougeL", "exact_match"):
            mean = sum(r.scores[metric] for r in mine) / len(mine)
            assert square[metric] == f"{mean:.2f}", (place, metric)
    assert by_place[3, "key"]["exact_match"] == "0.25"
    assert by_place[3, "key"]["certified"] == "0.25"


def test_controls_stand_beside_each_layer(make: Make) -> None:
    squares = [row for row in read(make()).rows if row][:7]
    assert [square["rouge1"] for square in squares[0][6:]] == ["0.31", "0.05", "0.10"]
    without = [r for r in everything() if r.attack["role"] == "strongest"]
    (make() / "records.jsonl").unlink()
    squares = [row for row in read(make(without)).rows if row][:7]
    assert [square["rouge1"] for square in squares[0][6:]] == ["0.05", "0.10"]


def test_a_square_names_all_its_numbers(make: Make) -> None:
    title = read(make()).titles["#cell-0-query"]
    for part in (
        "ROUGE-1 1.00",
        "ROUGE-2 1.00",
        "ROUGE-L 1.00",
        "Token recall 1.00",
        "Exact match 1.00",
        "0.55 s",
        "100\N{NO-BREAK SPACE}% certified",
        "4.0×10⁻⁷",
        "147,456 numbers",
        "gradient-matching: ROUGE-1 0.31",
        "Null control: ROUGE-1 0.05",
        "Trivial guess: ROUGE-1 0.10",
    ):
        assert part in title


def test_every_link_inside_the_page_has_a_target(make: Make) -> None:
    tags = read(make()).tags
    targets = {attrs["id"] for _, attrs in tags if "id" in attrs}
    links = {attrs["href"][1:] for tag, attrs in tags if tag == "a"}
    assert len(links) >= 36
    assert links <= targets


def test_absent_cell_is_named_with_its_reason(make: Make) -> None:
    text = read(make()).text
    assert f"Layer 5 query. Absent: {WHY_ABSENT}." in re.sub(r"\s+", " ", text)


def test_texts_cannot_become_markup(make: Make) -> None:
    folder = make(model="<img src=x onerror=alert(1)>", command="unmask '</script><script>alert(2)</script>'")
    html = page.write(folder).read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html
    assert html.count("<script>") == 1


def test_page_loads_nothing(make: Make) -> None:
    folder = make()
    html = page.write(folder).read_text(encoding="utf-8")
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "url(" not in html
    for tag, attrs in read(folder).tags:
        assert tag not in ("iframe", "object", "embed", "img", "base")
        assert "src" not in attrs
        assert not any(key.startswith("on") for key in attrs)
        if tag == "link":
            assert attrs["href"] == "data:,"
    assert "default-src 'none'" in html


def test_page_can_be_read_without_a_script(make: Make) -> None:
    reader = read(make())
    for text in (*TEXTS, *KNOWLEDGE, "Null control", "unmask audit --model minilm --out run", "2.13.0"):
        assert text in reader.text
    inputs = [attrs for tag, attrs in reader.tags if tag == "input" and attrs["type"] == "radio"]
    labels = {attrs["for"] for tag, attrs in reader.tags if tag == "label"}
    assert {attrs["id"] for attrs in inputs} <= labels
    assert sum("checked" in attrs for attrs in inputs) == 1
    html = page.write(make()).read_text(encoding="utf-8")
    for attrs in inputs:
        assert f"#{attrs['id']}:checked~.scroll .{attrs['id']}{{display:flex}}" in html


def test_words_are_marked_by_tags_not_by_colour_alone(make: Make) -> None:
    html = page.write(make([record(0, "query", 1, exact=False)])).read_text(encoding="utf-8")
    assert "<mark>john smith lives at</mark>" in html
    assert "<s>banana banana banana banana banana</s>" in html
    assert '<span class="lost">42 Oakchester Street at Springfield.</span>' in html


def test_masked_words_stay_masked(make: Make) -> None:
    html = page.write(make([redact(record(0, "query", 1))])).read_text(encoding="utf-8")
    assert "Oakchester" not in html
    assert "oakchester" not in html
    assert "<mark>████ █████" in html
    assert "Private words are masked" in html


def test_verdict_follows_the_limit(make: Make) -> None:
    assert "Above the limit" in read(make(fail_on=0.5)).text
    assert "Within the limit" in read(make(fail_on=1.0)).text
    assert "the limit" not in read(make(fail_on=None)).text


def test_layers_are_in_the_order_of_numbers(make: Make) -> None:
    records = [record(layer, "query", 0) for layer in (10, 2, 9)]
    html = page.write(make(records, grid=[])).read_text(encoding="utf-8")
    heat = html[html.index('<table class="heat"') : html.index("</table>")]
    assert re.findall(r'<th scope="row">(\w+)</th>', heat) == ["2", "9", "10", "All"]
    assert re.findall(r"<h3>(.*)</h3>", html) == ["Layer 2", "Layer 9", "Layer 10"]


def test_run_without_head_is_read_from_its_records(make: Make) -> None:
    folder = make([record(None, "embedding", 0)])
    (folder / "run.json").unlink()
    assert "The one component seen, embedding, gives the text away exactly." in read(folder).text


def test_lone_surrogates_and_empty_guesses_are_shown(make: Make) -> None:
    found = record(0, "query", 0, exact=False)
    line = found.to_json().replace("call maria", "\\ud83d")
    folder = make([])
    (folder / "records.jsonl").write_text(line + "\n", encoding="utf-8")
    assert page.write(folder).exists()
    line = re.sub(r'"recovered": \[[^]]*\]', '"recovered": []', found.to_json()).replace(
        '"matches": [[', '"matches": [[], ['
    )
    (folder / "records.jsonl").write_text(line + "\n", encoding="utf-8")
    assert "nothing was recovered" in read(folder).text


def test_missing_things_are_bad_input(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no folder"):
        page.write(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"holds no records\.jsonl"):
        page.write(tmp_path)
    with pytest.raises(BadInput, match="no finished record"):
        page.write(make([]))
    (make([]) / "records.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(BadInput, match="is no record"):
        page.write(tmp_path / "run")


@pytest.mark.parametrize(
    "head", ["{", "[]", '{"seed": "x"}', '{"grid": [3]}', '{"grid": [{"component": "a", "layer": "b"}]}']
)
def test_damaged_head_is_bad_input(make: Make, head: str) -> None:
    folder = make([record(0, "query", 0)])
    (folder / "run.json").write_text(head, encoding="utf-8")
    with pytest.raises(BadInput):
        page.write(folder)


def test_cut_last_line_is_passed_over(make: Make) -> None:
    folder = make([record(0, "query", 0)])
    with (folder / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write(record(0, "query", 1).to_json()[:200])
    assert page.summary(folder)["records"] == 1


def test_full_disk_keeps_the_old_page(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    old = page.write(folder)
    old.write_text("old", encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        page.write(folder)
    assert old.read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["records.jsonl", "report.html", "run.json"]


def test_report_never_imports_torch() -> None:
    code = "import unmask.report.page, unmask.report.csv, unmask.report.junit, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
