"""A study: one factor at a time, resumable, explosions as outcomes, a page that loads nothing."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unmask.cli import main
from unmask.errors import BadInput
from unmask.poly.conversion.data import Data
from unmask.poly.conversion.schedule import Schedule
from unmask.poly.conversion.stages import Plan
from unmask.poly.layers.transformer import Form
from unmask.poly.study.grid import FACTORS, grid
from unmask.poly.study.outcome import Outcome, decode, encode, summaries, table
from unmask.poly.study.page import page
from unmask.poly.study.run import Study, split, study
from unmask.poly.study.task import KEYS, VALUES, recall

FORM = Form(inputs=KEYS + VALUES, tokens=4, width=8, heads=2, hidden=12, classes=VALUES, layers=1, pooling="first")
RUN = Schedule(epochs=1, batch=20, learning_rate=3e-3)
PLAN = Plan(degrees={"gelu": 2}, replaced=RUN, ranged=RUN, tuned=replace(RUN, frozen=0.5))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def given(factors: tuple[str, ...] = (), *, seeds: int = 1, plan: Plan = PLAN) -> Study:
    train, held, test = split(recall(120, 3, tokens=4))
    return Study(
        variants=grid(FORM, plan, factors), seeds=seeds, data=Data(train=train, held=held), test=test, task="recall"
    )


def outcome(**changed: object) -> Outcome:
    facts: dict[str, object] = {"factor": "base", "value": "", "seed": 0, "metrics": {}, "ranges": {}}
    return Outcome(**facts | {"accuracy": 0.5, "levels": 12, "seconds": 1.0} | changed)  # type: ignore[arg-type]


def test_recall_gives_the_value_beside_the_asked_key_and_nothing_else_tells_it() -> None:
    part = recall(400, 5, tokens=5, noise=0.0)
    for x, y in zip(part.inputs, part.targets, strict=True):
        asked = int(x[0, :KEYS].argmax())
        beside = [row for row in x[1:] if int(row[:KEYS].argmax()) == asked]
        assert len(beside) == 1 and int(beside[0][KEYS:].argmax()) == int(y)
        assert not x[0, KEYS:].any()
    assert torch.equal(recall(400, 5, tokens=5).inputs, recall(400, 5, tokens=5).inputs)
    with pytest.raises(BadInput, match="does not leave 1 to 6 pairs"):
        recall(4, 0, tokens=8)


def test_each_variant_differs_from_the_base_in_its_factor_alone() -> None:
    variants = {(each.factor, each.value): each for each in grid(FORM, PLAN)}
    assert len(variants) == 2 + sum(len(values) for values in FACTORS.values())
    assert variants["length", "both"].form == replace(FORM, placement="both")
    assert variants["penalty", "off"].form == FORM and variants["penalty", "off"].plan.penalty.weight == 0
    assert variants["degree", "7"].plan == replace(PLAN, degrees={"gelu": 7})
    assert variants["depth", "4"].form.layers == 4
    assert variants["norms", "layer"].form.norm == "layer"
    with pytest.raises(BadInput, match="'width' is unknown"):
        grid(FORM, PLAN, ("width",))


def test_split_parts_share_no_input_and_lose_none() -> None:
    whole = recall(60, 1, tokens=4)
    parts = split(whole)
    assert [len(part.inputs) for part in parts] == [42, 6, 12]
    rows = torch.cat([part.inputs for part in parts]).flatten(1)
    assert len(rows.unique(dim=0)) == 60
    with pytest.raises(BadInput, match="too few"):
        split(recall(4, 1))


def test_a_study_is_resumed_extended_by_seeds_and_kept_from_other_settings(tmp_path: Path) -> None:
    said: list[str] = []
    first = study(given(("penalty",)), tmp_path, say=said.append)
    assert [each.variant for each in first] == ["twin", "base", "penalty: off"] and len(said) == 3
    assert list(first[0].metrics) == ["twin"]
    assert list(first[1].metrics) == ["replace", "range", "substitute", "polynomial", "intervals"]
    assert first[1].levels == 12 and first[0].levels is None  # 1 + 8 + 1, and a level for each quadratic
    assert all(0 <= each.accuracy <= 1 and not each.stopped for each in first)
    again = study(given(("penalty",), seeds=2), tmp_path, say=said.append)
    assert [each for each in again if each.seed == 0] == list(first) and len(said) == 6
    assert again[0].accuracy != again[1].accuracy or again[2].ranges != again[3].ranges
    assert len((tmp_path / "outcomes.jsonl").read_text().splitlines()) == 6
    other = replace(PLAN, replaced=replace(RUN, learning_rate=1e-3))
    with pytest.raises(BadInput, match="holds a study with other settings"):
        study(given(plan=other), tmp_path)


def test_a_run_whose_ranges_explode_is_an_outcome_that_names_the_site(tmp_path: Path) -> None:
    hot = replace(PLAN, tuned=replace(RUN, limit=1e-3))
    found = study(given(plan=hot), tmp_path)
    base = next(each for each in found if each.factor == "base")
    assert base.stopped.startswith("polynomial: blocks.0.") and math.isnan(base.accuracy)
    assert list(base.metrics) == ["replace", "range", "substitute"]
    assert decode(tmp_path / "runs" / "base-0.json").stopped == base.stopped
    assert "0/1" in table(summaries(found)) and "Stopped runs" in page(found, task="recall", baseline=0.25)


def test_summaries_count_finished_runs_and_take_the_drop_from_the_last_stage_before() -> None:
    metrics = {"replace": 0.9, "range": 0.8, "substitute": 0.5}
    ranges = {"replace": 40.0, "intervals": 4.0}
    runs = [
        outcome(seed=0, accuracy=0.6, metrics=metrics, ranges=ranges),
        outcome(seed=1, accuracy=0.8, metrics=metrics, ranges=ranges),
        outcome(seed=2, accuracy=math.nan, stopped="range: x received inf"),
    ]
    (found,) = summaries(runs)
    assert (found.runs, found.finished, found.low) == (3, 2, 0.6)
    assert found.mean == pytest.approx(0.7) and found.spread == pytest.approx(0.2 / math.sqrt(2))
    assert found.substituted == pytest.approx(-0.3) and (found.before, found.after) == (40.0, 4.0)
    assert found.stopped == ("range: x received inf",)


def test_outcomes_survive_their_file_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(encode(outcome(metrics={"replace": 0.5})))
    assert decode(path) == outcome(metrics={"replace": 0.5})
    path.write_text('{"factor": "base"')
    with pytest.raises(BadInput, match="delete it to run this one again"):
        decode(path)


def test_page_has_a_mark_for_every_run_and_loads_nothing() -> None:
    runs = [
        outcome(factor="twin", accuracy=0.9, levels=None),
        outcome(seed=0, ranges={"replace": 40.0, "intervals": 4.0}),
        outcome(seed=1, accuracy=math.nan, stopped="replace: <site>"),
    ]
    text = page(runs, task="A & B.", baseline=0.25)
    assert text.count("<circle") == 2 and text.count("<path") == 1 and text.count("<rect") == 2
    assert "A &amp; B." in text and "&lt;site&gt;" in text and "<site>" not in text
    assert not re.search(r"<script|<link|@import|url\(|src=", text)


def test_command_prints_the_table_or_json_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["poly", "study", "--out", str(tmp_path), "--count", "120", "--seeds", "1", "--epochs", "1,1,1"]
    assert main([*base, "--factors", "penalty"]) == 0
    printed = capsys.readouterr().out
    assert "penalty: off" in printed and "most common class alone" in printed
    assert main([*base, "--factors", "penalty", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [each["variant"] for each in facts["variants"]] == ["twin", "base", "penalty: off"]
    assert (tmp_path / "study.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--factors", "width"], "'width' is unknown"),
        (["--epochs", "1,2"], "not three whole numbers"),
        (["--epochs", "0,1,1"], "a number below 1"),
        (["--count", "5"], "too few to train on"),
        (["--seeds", "0"], "is not positive"),
        (["--data", "nowhere"], "neither a file nor a folder"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["poly", "study", "--out", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err
