import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks import bars, docs_tables, privacy_pages
from benchmarks.rows import COLUMNS, Row, load, save, versions
from unmask.errors import BadInput, StorageError

ROW = Row(
    setting="layer 0, query",
    bar=">= 0.90",
    measured=0.95,
    unit="",
    holds=True,
    control=0.125,
    n=20,
    seconds=1.5,
    command="make bench TOPIC=gradients",
    versions={"torch": "0"},
)
SHORT = replace(ROW, setting="layer 5, value", measured=0.5, holds=False, reason="too long [sentences]")


def test_rows_come_back_as_they_were_saved(tmp_path):
    save("gradients", [ROW, SHORT], folder=tmp_path)
    assert load("gradients", folder=tmp_path) == (ROW, SHORT)
    assert load("privacy", folder=tmp_path) == ()
    stored = json.loads((tmp_path / "gradients.json").read_text())
    keys = {"setting", "bar", "measured", "unit", "holds", "control", "n", "seconds", "command", "versions", "reason"}
    assert set(stored[0]) == keys
    assert [path.name for path in tmp_path.iterdir()] == ["gradients.json"]


def test_a_partial_rerun_keeps_the_other_rows_and_their_order(tmp_path):
    save("gradients", [ROW, SHORT], folder=tmp_path)
    again, new = replace(ROW, measured=0.99), replace(ROW, setting="layer 1, key")
    save("gradients", [new, again], folder=tmp_path)
    assert load("gradients", folder=tmp_path) == (again, SHORT, new)


def test_a_reason_survives_a_rerun_that_falls_short_again_only(tmp_path):
    save("gradients", [SHORT], folder=tmp_path)
    save("gradients", [replace(SHORT, measured=0.6, reason="")], folder=tmp_path)
    assert load("gradients", folder=tmp_path)[0].reason == SHORT.reason
    save("gradients", [replace(SHORT, holds=True, reason="")], folder=tmp_path)
    assert load("gradients", folder=tmp_path)[0].reason == ""


def test_a_failed_write_leaves_the_old_rows(tmp_path, monkeypatch):
    save("gradients", [ROW], folder=tmp_path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmarks.rows.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save("gradients", [SHORT], folder=tmp_path)
    assert load("gradients", folder=tmp_path) == (ROW,)
    assert [path.name for path in tmp_path.iterdir()] == ["gradients.json"]


def test_wrong_rows_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BadInput, match="topic 'gradiants' is unknown"):
        save("gradiants", [ROW], folder=tmp_path)
    with pytest.raises(BadInput, match="two rows"):
        save("gradients", [ROW, replace(SHORT, setting=ROW.setting)], folder=tmp_path)
    with pytest.raises(BadInput, match="measured nan is not finite"):
        replace(ROW, measured=float("nan"))
    with pytest.raises(BadInput, match="setting"):
        replace(ROW, setting="")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[1]", '[{"setting": "x"}]'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "gradients.json").write_text(content)
    with pytest.raises(BadInput, match="damaged"):
        load("gradients", folder=tmp_path)


def test_versions_pass_over_what_is_not_installed():
    found = versions(["torch", "no-such-distribution"])
    assert set(found) == {"python", "torch"}


def printed(folder, width=200, **options):
    console = Console(width=width, record=True, file=None, quiet=False, no_color=True)
    with console.capture() as capture:
        code = bars.main(folder, console, **options)
    return code, capture.get()


def test_bars_print_every_row_and_fail_on_a_short_one(tmp_path):
    save("gradients", [ROW], folder=tmp_path)
    code, text = printed(tmp_path)
    assert code == 0
    assert all(name in text for name in COLUMNS)
    save("privacy", [SHORT], folder=tmp_path)
    code, text = printed(tmp_path)
    assert code == 1
    assert "layer 0, query" in text
    assert "[sentences]" in text
    assert "2 rows, 1 short." in text


def test_bars_in_a_narrow_terminal_are_lines_and_can_be_those_that_fall_short(tmp_path):
    save("gradients", [ROW, SHORT], folder=tmp_path)
    code, text = printed(tmp_path, 1000 // 8)
    assert code == 1
    assert text.count("ok   ") == text.count("SHORT") == 1
    assert "bar " in text
    code, text = printed(tmp_path, 1000 // 8, short_only=True)
    assert code == 1
    assert "ok   " not in text
    assert "2 rows, 1 short." in text


def test_bars_without_rows_or_with_damaged_ones_are_bad_input(tmp_path):
    assert printed(tmp_path)[0] == 2
    (tmp_path / "gradients.json").write_text("{")
    assert printed(tmp_path)[0] == 2


def pages(root, text):
    (root / "docs" / "attacks").mkdir(parents=True)
    (root / "README.md").write_text("no table\n")
    (root / "docs" / "attacks" / "span.md").write_text(text)
    return root / "docs" / "attacks" / "span.md"


def test_docs_tables_are_filled_once_and_checked(tmp_path, capsys):
    results = tmp_path / "results"
    page = pages(tmp_path, "before\n<!-- table: gradients -->\nformer\n<!-- end table -->\nafter\n")
    assert docs_tables.main(["--check"], tmp_path, results) == 1
    assert "docs/attacks/span.md" in capsys.readouterr().err
    assert docs_tables.main([], tmp_path, results) == 0
    assert "Not measured yet" in page.read_text()
    save("gradients", [ROW, replace(SHORT, reason="a|b")], folder=results)
    assert docs_tables.main(["--check"], tmp_path, results) == 1
    assert docs_tables.main([], tmp_path, results) == 0
    assert docs_tables.main(["--check"], tmp_path, results) == 0
    text = page.read_text()
    assert re.match(r"before\n<!-- table: gradients -->\n\n\| setting \|", text)
    assert text.endswith("<!-- end table -->\nafter\n")
    assert "| layer 0, query | >= 0.90 | 0.95 |" in text
    assert "a\\|b" in text
    assert "former" not in text


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("<!-- table: gradients -->\n", "open marker"),
        ("<!-- table: gradients -->\n<!-- table: privacy -->\n<!-- end table -->", "open marker"),
        ("<!-- table: graidents -->\n<!-- end table -->", "is unknown"),
    ],
)
def test_docs_tables_name_a_wrong_marker(tmp_path, capsys, text, clause):
    page = pages(tmp_path, text)
    assert docs_tables.main([], tmp_path, tmp_path / "results") == 2
    assert clause in capsys.readouterr().err
    assert page.read_text() == text


def test_a_page_may_ask_for_the_rows_of_one_setting(tmp_path):
    save("gradients", [ROW, SHORT], folder=tmp_path)
    page = "<!-- table: gradients, layer 5 -->\n<!-- end table -->"
    found = docs_tables.filled(page, "page.md", folder=tmp_path)
    assert "layer 5, value" in found and "layer 0, query" not in found
    assert docs_tables.filled(found, "page.md", folder=tmp_path) == found


def test_the_figures_of_the_guarantees_find_their_rows():
    rows = load("privacy")
    shares, errors = privacy_pages.decoding(rows), privacy_pages.matrix(rows)
    assert set(shares) == {"removed", "replaced"} and all(len(points) == 5 for points in shares.values())
    assert set(errors) == {0.01, 0.1, 2.0} and all(len(lines) == 4 for lines in errors.values())
