"""CSV and JUnit: the same rows for other programs."""

import csv
from pathlib import Path
from xml.etree import ElementTree

from tests.report.synthetic import WHY_ABSENT, Make, everything, record
from unmask.report import csv as csv_export
from unmask.report import junit
from unmask.report.rows import rows


def test_csv_has_one_line_per_row(tmp_path: Path) -> None:
    table = rows(everything())
    with csv_export.write(table, tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(table)
    key = next(row for row in found if (row["layer"], row["component"]) == ("3", "key"))
    assert float(key["exact_match"]) == 0.25
    assert float(key["exact_match_low"]) < 0.25 < float(key["exact_match_high"])
    assert float(key["null_rouge1"]) == 0.05


def test_csv_cells_are_no_formulas(tmp_path: Path) -> None:
    path = csv_export.write(rows([record(0, "=1+1", 0)]), tmp_path / "rows.csv")
    assert ",'=1+1," in path.read_text(encoding="utf-8")


def test_junit_fails_the_cells_above_the_limit(make: Make, tmp_path: Path) -> None:
    suite = ElementTree.parse(junit.write(make(fail_on=0.9), tmp_path / "leaks.xml")).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("36", "33", "1")
    cases = {case.get("name"): case for case in suite}
    assert cases["layer 3 key"].find("failure") is None
    assert "ROUGE-1 1.00, the limit is 0.9" in cases["layer 0 query"].find("failure").get("message")
    assert cases["layer 5 query"].find("skipped").get("message") == WHY_ABSENT


def test_junit_without_a_limit_fails_nothing(make: Make, tmp_path: Path) -> None:
    suite = ElementTree.parse(junit.write(make(model="mini\x00lm"), tmp_path / "leaks.xml")).getroot()
    assert suite.get("failures") == "0"
