"""The same page for images: pictures, decibels, and the words that belong to them."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.report import pictured, synthetic
from tests.report.pictured import SIGNALS
from tests.report.synthetic import Make
from unmask.record import Record
from unmask.report import csv as csv_export
from unmask.report import junit, kinds, page, words
from unmask.report.rows import rows


@pytest.fixture
def folder(make: Make) -> Path:
    """Return the folder of a run on images."""
    return written(make, pictured.everything())


def written(make: Make, records: list[Record], **head: object) -> Path:
    """Write a run on images."""
    surface = {"name": "attention-images"}
    folder = make(records, model="vit-demo", surface=surface, grid=pictured.grid(), **head)
    pictured.draw(folder, [found for found in records if found.pictures and found.pictures[0].secret])
    return folder


def test_pictures_stand_side_by_side_inside_the_page(folder: Path) -> None:
    html = page.write(folder).read_text(encoding="utf-8")
    sources = re.findall(r'<img src="([^"]*)" alt="([^"]*)"', html)
    assert len(sources) == 26 * 2 * 2 + 2 * 2
    assert all(source.startswith("data:image/png;base64,") for source, _ in sources)
    assert {alternative for _, alternative in sources} == {"Secret", "Recovered", "Published method"}
    assert "img-src data:" in html


def test_a_missing_picture_is_said(folder: Path) -> None:
    next((folder / "pictures").iterdir()).unlink()
    html = page.write(folder).read_text(encoding="utf-8")
    assert html.count("file is missing") == 1


def test_a_file_outside_the_run_never_gets_into_the_page(make: Make, tmp_path: Path) -> None:
    (tmp_path / "private.png").write_bytes(pictured.png(0, 0.0))
    for path in ("../private.png", str(tmp_path / "private.png")):
        found = pictured.record(0, "block", 0, db=60.0)
        line = found.to_json().replace("pictures/0-block-0-strongest-0-secret.png", path)
        folder = written(make, [found])
        (folder / "records.jsonl").write_text(line + "\n", encoding="utf-8")
        html = page.write(folder).read_text(encoding="utf-8")
        assert html.count("<img") == 1
        assert "outside the run&#39;s folder" in html


def test_a_file_that_is_no_png_is_not_shown(folder: Path) -> None:
    (folder / "pictures" / "0-block-0-strongest-0-secret.png").write_text("<script>", encoding="utf-8")
    assert "file is no PNG" in page.write(folder).read_text(encoding="utf-8")


def test_masked_pictures_leave_the_numbers(make: Make) -> None:
    records = [pictured.masked(found) for found in pictured.everything()]
    html = page.write(written(make, records)).read_text(encoding="utf-8")
    assert "<img" not in html
    assert "The pictures are masked" in html
    assert "PSNR 122.0\N{NO-BREAK SPACE}dB" in html


def test_the_words_are_those_of_images(folder: Path) -> None:
    html = page.write(folder).read_text(encoding="utf-8")
    for word in ("ROUGE", "Exact match", "component", " text ", " texts "):
        assert word not in re.sub(r"<(style|script).*?</\1>", "", html, flags=re.S)
    assert "Any one of 20 of 27 signals gives the image away in full." in html
    assert "SSIM" in html
    assert "PSNR" in html


def test_signals_stand_in_the_order_of_the_page(folder: Path) -> None:
    html = page.write(folder).read_text(encoding="utf-8")
    heat = html[html.index('<table class="heat"') :]
    heads = re.findall(r'<th scope="col">([^<]*)</th>', heat[: heat.index("</thead>")])
    expected = ["Head 0", "Head 1", "Head 2", "Head 3", "Attention block", "Hidden state", "Key", "Value"]
    assert heads == ["Layer", *expected, "Probabilities"]
    assert words.order(reversed(SIGNALS)) == list(SIGNALS)


def test_the_map_offers_decibels(folder: Path) -> None:
    html = page.write(folder).read_text(encoding="utf-8")
    assert '<label for="m-psnr_db">PSNR</label>' in html
    assert re.search(r'<span class="v m-psnr_db q20">122</span>', html)
    assert re.search(r'<span class="v m-psnr_db q5">14</span>', html)


def test_rows_carry_measures_and_their_kind() -> None:
    row = rows([pictured.record(0, "block", i, db=60.0 + i) for i in range(2)])[0]
    assert (row.kind, row.trials) == (kinds.IMAGE, "2 images")
    assert row.measures == {"psnr_db": 60.5}
    assert (row.leak, row.exact) == (1.0, 1.0)
    text = rows([synthetic.record(0, "query", 0)])[0]
    assert (text.kind, text.trials, text.measures) == (kinds.TEXT, "1 text", {})


def test_summary_says_which_score_leaks(folder: Path) -> None:
    found = page.summary(folder)
    assert (found["kind"], found["leak_score"], found["leak"], found["texts"]) == ("image", "SSIM", 1.0, 2)


def test_csv_and_junit_follow(make: Make, tmp_path: Path) -> None:
    folder = written(make, pictured.everything(), fail_on=0.5)
    with csv_export.write(rows(pictured.everything()), tmp_path / "rows.csv").open(newline="") as file:
        line = next(row for row in csv.DictReader(file) if (row["layer"], row["component"]) == ("0", "block"))
    assert (float(line["ssim"]), float(line["psnr_db"]), float(line["null_ssim"])) == (1.0, 122.0, 0.1)
    suite = ElementTree.parse(junit.write(folder, tmp_path / "leaks.xml")).getroot()
    message = next(case.find("failure") for case in suite if case.get("name") == "layer 0 attention block")
    assert message is not None
    assert "image-newton reaches SSIM 1.00" in message.get("message", "")
