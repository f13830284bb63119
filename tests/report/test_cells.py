"""Cells, headline and threat model: what is said must follow from what was measured."""

from collections.abc import Sequence
from dataclasses import replace

from tests.report.synthetic import record, scores
from unmask.record import Outcome, Record
from unmask.report import headline
from unmask.report.cells import CellView, State, cells
from unmask.report.folder import Planned
from unmask.report.rows import rows
from unmask.report.threat import threat_model


def view(records: Sequence[Record], *absent: str | None) -> tuple[CellView, ...]:
    """Return a grid of query cells, one per layer, with the given claims of absence."""
    plans = [Planned(layer=i, component="query", parameters=1, share=0.1, absent=why) for i, why in enumerate(absent)]
    return cells(plans, rows(records))


def test_a_measurement_outweighs_a_claim_of_absence() -> None:
    assert view([record(0, "query", 0)], "no path")[0].state is State.EXACT
    assert view([record(0, "query", 0, exact=False)], "no path")[0].state is State.ABSENT
    assert view([], "no path")[0].state is State.ABSENT
    assert view([], None)[0].state is State.MISSING


def test_no_more_than_the_controls_is_nothing() -> None:
    weak = replace(record(0, "query", 0, exact=False), scores=scores(0.1, 0.0))
    grid = view([weak], None)
    assert grid[0].state is State.NOTHING
    assert headline.sentence(grid) == "No component gave more of the text away than a guess that saw nothing of it."


def test_attacks_that_were_stopped_are_no_evidence_of_safety() -> None:
    weak = replace(record(0, "query", 0, exact=False), scores=scores(0.1, 0.0), reason="stopped after 30 s")
    told = headline.sentence(view([weak], None))
    assert told.endswith("saw nothing of it, but 1 of 1 attacks were stopped before they ended.")
    assert not any("no more than the controls" in text for text in headline.details(view([weak], None)))
    exact = replace(record(1, "query", 0))
    others = headline.details(view([exact, weak], None, None))
    assert "One was stopped before the attack ended." in others


def test_the_best_of_several_strong_attacks_stands_for_a_cell() -> None:
    weak = replace(record(0, "query", 0, exact=False), key="weak", attack={"name": "bag", "role": "strongest"})
    for order in ([weak, record(0, "query", 0)], [record(0, "query", 0), weak]):
        best = view(order, None)[0].best
        assert best is not None
        assert best.attack == "span-search"


def test_headlines() -> None:
    exact, part = record(0, "query", 0), record(1, "query", 0, exact=False)
    assert (
        headline.sentence(view([exact], None)) == "The one component seen, layer 0 query, gives the text away exactly."
    )
    assert headline.sentence(view([exact, part], None, None)) == (
        "One of 2 components, layer 0 query, gives the text away exactly."
    )
    assert headline.sentence(view([exact, replace(exact, cell=part.cell)], None, None)) == (
        "Each of the 2 components, seen alone, gives the text away exactly."
    )
    assert headline.sentence(view([part], None, None)) == (
        "No component gives every text away exactly; the worst, layer 1 query, gives part of it."
    )
    assert headline.sentence(view([], "no path", "no path")) == "No component that was seen carries the text."


def test_one_missed_text_is_not_exact() -> None:
    grid = view([record(0, "query", item, exact=item > 0) for item in range(20)], None)
    assert grid[0].state is State.PART


def test_batches_are_called_batches() -> None:
    batch = replace(record(0, "query", 0), item={"index": 0, "size": 8, "tokens": 90})
    assert headline.details(view([batch], None))[0] == "It was attacked on 1 batch of up to 8 texts."


def test_an_attack_that_does_not_apply_leaves_the_cell_unmeasured() -> None:
    skipped = replace(record(0, "query", 0, exact=False), outcome=Outcome.SKIPPED, reason="the model is causal")
    cell = view([skipped], None)[0]
    assert (cell.state, cell.reason) == (State.MISSING, "the model is causal")


def test_shared_knowledge_is_said_once() -> None:
    first = record(0, "query", 0)
    other = replace(record(1, "query", 0), knowledge=(*first.knowledge[:2], "Labels are known."))
    assert threat_model([first, first]).variants == ()
    found = threat_model([first, other])
    assert found.shared == first.knowledge[:2]
    assert [(v.sentences, v.where) for v in found.variants] == [
        (("Labels are unknown.",), ("layer 0 query",)),
        (("Labels are known.",), ("layer 1 query",)),
    ]
