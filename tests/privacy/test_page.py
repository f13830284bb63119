"""What the overview of the guarantees says was measured stands in the measured rows."""

import re
from pathlib import Path

import pytest

from benchmarks.rows import load

PAGE = Path(__file__).parents[2] / "docs" / "guarantees" / "index.md"
READ = "Attention read over 10,000 records, scores within 1,"
MATRIX = "Attention matrix of 1,000 tokens, one token moved by"
SPAN = "Bounded decoding, 50 tokens, span"
ROWS = {
    "Noisy read": (READ,),
    "Linear state": (READ,),
    "Token noise": (f"{MATRIX} 0.01,", f"{MATRIX} 2,"),
    "Bounded decoding": (f"{SPAN} removed, epsilon 1,", f"{SPAN} replaced, epsilon 1,"),
    "Attention release": (f"{MATRIX} 0.01,", f"{MATRIX} 2,", READ),
    "DP-SGD": ("MiniLM on Rotten Tomatoes, head on the mean of frozen states (770 parameters), epsilon 1",),
}
NUMBER = re.compile(r"\d\.\d{3,}")


@pytest.mark.parametrize("mechanism", ROWS)
def test_numbers_of_the_table_are_those_of_the_rows(mechanism: str) -> None:
    (line,) = [one for one in PAGE.read_text().splitlines() if one.startswith(f"| [{mechanism}](")]
    stated = NUMBER.findall(line.split("|")[-2])
    rows = [row for row in load("privacy") if row.setting.startswith(ROWS[mechanism])]
    assert stated and len(rows) >= len(ROWS[mechanism])
    measured = " ".join(f"{row.measured} {row.control}" for row in rows)
    found = {f"{float(number):g}" for number in re.findall(r"\d+\.\d+", measured)}
    assert {f"{float(number):g}" for number in stated} <= found
