"""Small parts: colours, numbers, intervals, marks, and the examples in their docstrings."""

import doctest
import importlib

import pytest

from unmask.report import form, marked, palette
from unmask.report.interval import wilson

MODULES = ("form", "words", "interval", "palette", "marked", "rows", "headline", "threat", "overview")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"unmask.report.{name}"))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("dark", [False, True])
def test_lightness_is_steady_and_every_number_is_legible(dark: bool) -> None:
    shades = [palette.colour(index, dark=dark) for index in range(palette.STEPS + 1)]
    light = [palette.luminance(shade) for shade in shades]
    assert light == sorted(light, reverse=not dark)
    assert len(set(light)) == len(light)
    for shade, value in zip(shades, light, strict=True):
        ink = palette.luminance(palette.ink(shade))
        assert (max(ink, value) + 0.05) / (min(ink, value) + 0.05) >= 4.5


@pytest.mark.parametrize("value", [0.9951, 0.99999])
def test_rounding_never_makes_a_score_exact(value: float) -> None:
    assert form.score(value) == "0.99"
    assert form.score(1 - value) == "0.01"
    assert palette.step(value) < palette.step(1.0)


def test_wilson_agrees_with_the_textbook() -> None:
    # Newcombe 1998, table I: 81 of 263 and 15 of 148.
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        found = wilson([1.0] * hits + [0.0] * (n - hits))
        assert (found.low, found.high) == (low, high)
    with pytest.raises(ValueError, match="at least one"):
        wilson([])


def test_repeated_words_are_missed_once_each() -> None:
    pieces = marked.secret("no no no", "no", redacted=False)
    assert [(piece.text, piece.agrees) for piece in pieces] == [("no", True), ("no no", False)]


def test_words_without_a_flag_count_as_wrong() -> None:
    assert [piece.agrees for piece in marked.recovered("a b", (True,))] == [True, False]
    assert marked.recovered("", (True,)) == ()
