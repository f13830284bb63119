"""The summary: numbers that JSON can hold and that agree with the records."""

import json

import pytest

from tests.report.synthetic import PART, Make, everything, record
from unmask.report import page


def test_summary_counts_and_leak(make: Make) -> None:
    found = json.loads(json.dumps(page.summary(make(fail_on=0.5)), allow_nan=False))
    assert found["headline"] == "Any one of 33 of 36 components gives the text away exactly."
    assert found["cells"] == {"all": 36, "exact": 33, "part": 2, "nothing": 0, "absent": 1, "missing": 0}
    assert found["leak"] == 1.0
    assert found["leaks"] is True
    assert found["records"] == len(everything()) == 35 * 4 + 6 * 4
    assert found["texts"] == 4
    assert len(found["rows"]) == 35 + 6
    assert [(a["attack"], a["cells"]) for a in found["attacks"]] == [("span-search", 35), ("gradient-matching", 6)]


def test_leak_is_the_largest_mean_not_the_largest_text(make: Make) -> None:
    records = [record(*place, item, exact=item == 0) for place in PART for item in range(2)]
    found = page.summary(make(records, fail_on=0.9))
    assert found["leak"] == pytest.approx((1 + 4 / 9) / 2)
    assert found["leaks"] is False
    assert page.summary(make([], fail_on=0.7))["leaks"] is True


def test_a_leak_of_the_baseline_counts(make: Make) -> None:
    records = [record(0, "query", 1, exact=False), record(0, "query", 1, role="baseline")]
    found = page.summary(make(records, fail_on=0.9))
    assert found["leak"] == 1.0
    assert found["leak_cell"]["attack"] == "gradient-matching"
    assert any("the published method is ahead in 1" in text for text in found["details"])


def test_a_leak_on_the_limit_passes(make: Make) -> None:
    assert page.summary(make(fail_on=1.0))["leaks"] is False
    assert page.summary(make([]))["leaks"] is None


def test_unmeasured_cells_are_named(make: Make) -> None:
    found = page.summary(make([record(0, "query", 0), record(0, "key", 0)]))
    assert found["headline"] == "Any one of 2 of 36 components gives the text away exactly."
    assert "33 of 36 cells are not measured." in found["details"]


def test_the_same_key_counts_once(make: Make) -> None:
    assert page.summary(make([record(0, "query", 0)] * 3))["records"] == 1
