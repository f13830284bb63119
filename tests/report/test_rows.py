"""Rows: which records are in a mean, and which are not."""

from dataclasses import replace

import pytest

from tests.report.synthetic import everything, record, scores
from unmask.record import Outcome
from unmask.report.rows import rows


def test_one_row_per_cell_and_attack() -> None:
    table = rows(everything())
    assert len(table) == 35 + 6
    assert len({(row.layer, row.component, row.attack) for row in table}) == len(table)


def test_means_cost_and_certificate() -> None:
    row = rows([record(3, "key", 0), record(3, "key", 1, exact=False)])[0]
    assert row.n == 2
    assert row.mean("rouge1") == pytest.approx((1 + 4 / 9) / 2)
    assert row.mean("exact_match") == 0.5
    assert row.certified == 0.5
    assert row.certificate == 0.3
    assert row.seconds == pytest.approx(2.55)
    assert row.null["rouge1"] == pytest.approx(0.05)
    assert row.trivial["rouge1"] == pytest.approx(0.1)


def test_interval_holds_the_mean_and_narrows() -> None:
    few = rows([record(0, "query", item) for item in range(2)])[0].scores["rouge1"]
    many = rows([record(0, "query", item) for item in range(40)])[0].scores["rouge1"]
    assert few.low < many.low < 1 == few.high == many.high


def test_skipped_records_are_in_no_mean() -> None:
    skipped = replace(record(0, "query", 1), outcome=Outcome.SKIPPED, scores=scores(0.0, 0.0))
    row = rows([record(0, "query", 0), skipped])[0]
    assert (row.n, row.skipped, row.mean("rouge1")) == (1, 1, 1.0)
    row = rows([skipped])[0]
    assert (row.n, row.seconds, row.certified, row.mean("rouge1")) == (0, None, None, None)


def test_exhausted_records_are_in_the_mean() -> None:
    lost = replace(record(0, "query", 1, exact=False), outcome=Outcome.EXHAUSTED, scores=scores(0.0, 0.0))
    assert rows([record(0, "query", 0), lost])[0].mean("rouge1") == 0.5


def test_scores_that_are_no_numbers_are_left_out() -> None:
    odd = replace(record(0, "query", 1), scores={**scores(1.0, 1.0), "rouge1": float("nan")}, certificate=float("nan"))
    row = rows([odd])[0]
    assert row.mean("rouge1") is None
    assert row.certificate is None
    assert row.mean("rouge2") == 1.0


def test_absent_needs_every_record() -> None:
    absent = replace(record(5, "query", 0, exact=False), outcome=Outcome.ABSENT, reason="no path")
    assert rows([absent])[0].absent == "no path"
    assert rows([absent, record(5, "query", 1)])[0].absent is None
