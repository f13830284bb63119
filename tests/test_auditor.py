"""The loop: what is kept, how it ends, and that a kill loses nothing."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.stubs import Interrupting, Scripted, Silent, TableSpan
from tests.tiny import TEXTS, fresh, loaded
from unmask import record
from unmask.attack import Attack, Reconstruction
from unmask.auditor import prepare
from unmask.auditor.attempt import attempt
from unmask.auditor.certificate import CEILING, threshold
from unmask.auditor.loop import Finished, Step, run
from unmask.auditor.plan import Plan, Role, spread
from unmask.auditor.texts import TextSubject
from unmask.errors import BadInput, NoSignal, StorageError
from unmask.record import Outcome
from unmask.report import page
from unmask.report.folder import load
from unmask.rng import generator
from unmask.surface import Release
from unmask.surfaces import gradient_file
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Victim
from unmask.victims.corpora import Example
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets


def _plan(
    *attacks: Attack,
    select: tuple[str, ...] = ("0.query",),
    count: int = 3,
    batch: int = 1,
    family: str = "bert",
    surface: GradientSurface | None = None,
    **settings: object,
) -> Plan:
    who = loaded(family)
    examples = [Example(text=text, label=label, kind="test") for text, label in TEXTS[:count]]
    cells = prepare.cells(who.model, surface or GradientSurface(), select)
    plan = Plan(
        subject=TextSubject(
            model=who.model,
            mechanism=TorchMechanism(model=who.model),
            guess=prepare.common(who.model, who.encode),
        ),
        cells=cells,
        items=secrets(examples, who.model, who.encode, batch=batch),
        roles=tuple(
            Role(attack=attack, role="strongest", cells=tuple(range(len(cells)))) for attack in attacks or [TableSpan()]
        ),
        controls=prepare.controls(who.model, who.encode, batch),
        show_private=True,
    )
    return replace(plan, **settings)


def _lines(path: Path) -> list[record.Record]:
    return list(record.read(path / "records.jsonl"))


def test_a_run_ends_with_scores_controls_and_a_certificate(tmp_path: Path) -> None:
    finished = run(_plan(), tmp_path / "run")
    assert [r.outcome for r in finished.records] == [Outcome.CERTIFIED] * 3
    for index, found in enumerate(finished.records):
        text, _ = TEXTS[index]
        assert found.texts.secret == found.texts.recovered == (text,)
        assert found.scores["exact_match"] == found.scores["rouge1"] == 1
        assert found.null["exact_match"] == 0
        assert found.null["rouge1"] < 1
        assert set(found.trivial) == set(found.scores)
        assert found.item == {"index": index, "size": 1, "tokens": len(text.split()) + 2}
        assert found.attack == {"name": "stub", "role": "strongest", "tolerance": 1e-4}
        assert found.surface["name"] == "gradient"
        assert found.surface["select"] == "0.query"
        assert found.cell.layer == 0
        assert found.certificate is not None
        assert found.knowledge
    assert finished.records == tuple(_lines(tmp_path / "run"))


def test_the_report_can_read_what_the_loop_writes(tmp_path: Path) -> None:
    run(_plan(select=("grid",), count=1), tmp_path / "run")
    facts = page.summary(tmp_path / "run")
    assert facts["cells"]["all"] == 12
    assert facts["leak"] == 1
    assert facts["records"] == 12
    assert page.write(tmp_path / "run").is_file()
    head = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(head["grid"]) == 12
    assert "select" not in head["surface"]


def test_the_guess_with_the_lowest_attack_loss_is_kept_whatever_its_score(tmp_path: Path) -> None:
    finished = run(_plan(Scripted(losses=(3.0, 1.0, 2.0, math.nan)), count=1), tmp_path / "run")
    (found,) = finished.records
    word = loaded("bert").tokenizer.convert_ids_to_tokens(5)
    assert found.texts.recovered == (" ".join([word] * 3),)


def test_of_equal_losses_the_later_guess_is_kept() -> None:
    seen = GradientSurface().observe(_victim(), generator(0))
    ended = attempt(Scripted(losses=(1.0, 1.0)), seen, generator(0), seconds=60.0)
    assert ended.best is not None
    assert ended.best.tokens[0][0] == 5


def test_done_ends_an_attack() -> None:
    attack = Scripted(losses=(3.0, 2.0, 1.0), done_at=1)
    ended = attempt(attack, GradientSurface().observe(_victim(), generator(0)), generator(0), seconds=60.0)
    assert attack.log == [0, 1]
    assert not ended.expired


def test_the_time_limit_ends_an_attack_between_two_guesses() -> None:
    attack = Scripted(losses=(3.0, 2.0, 1.0), wait=0.02)
    ended = attempt(attack, GradientSurface().observe(_victim(), generator(0)), generator(0), seconds=0.01)
    assert attack.log == [0]
    assert ended.expired
    assert ended.best is not None


@pytest.mark.parametrize(
    ("attack", "outcome", "reason"),
    [
        (Scripted(), Outcome.APPROXIMATE, "does not match"),
        (Scripted(absent=True), Outcome.ABSENT, "a reason"),
        (Scripted(residual=0.5), Outcome.APPROXIMATE, "does not match"),
        (Scripted(residual=1e-9), Outcome.CERTIFIED, "rounding explains"),
        (Silent(), Outcome.SKIPPED, "no guess"),
    ],
)
def test_outcomes(tmp_path: Path, attack: Attack, outcome: Outcome, reason: str) -> None:
    (found,) = run(_plan(attack, count=1), tmp_path / "run").records
    assert found.outcome is outcome
    assert reason in found.reason
    assert bool(found.scores) is (outcome is not Outcome.SKIPPED)


def test_an_attack_that_does_not_apply_is_skipped_with_its_reason(tmp_path: Path) -> None:
    (found,) = run(_plan(select=("1.query",), count=1), tmp_path / "run").records
    assert found.outcome is Outcome.SKIPPED
    assert found.reason == "no closed form of the input"


def test_time_that_ran_out_is_an_outcome(tmp_path: Path) -> None:
    plan = _plan(Scripted(losses=(2.0, 1.0), wait=0.02), count=1, run_seconds=0.01)
    (found,) = run(plan, tmp_path / "run").records
    assert found.outcome is Outcome.EXHAUSTED


def test_a_perfect_residual_proves_nothing_where_the_release_was_not_exact(tmp_path: Path) -> None:
    surface = GradientSurface(release=Release(noise=0.001))
    (found,) = run(_plan(Scripted(residual=0.0), count=1, surface=surface), tmp_path / "run").records
    assert found.outcome is Outcome.APPROXIMATE


def test_the_threshold_is_measured_and_between_rounding_and_any_other_sentence() -> None:
    plan, victim = _plan(count=1), _victim()
    surface = GradientSurface(select="1.ffn.in")
    bound = threshold(plan.subject, surface, Reconstruction(tokens=((2, 9, 10, 11, 3),), loss=0.0), 0)
    assert 1e-9 < bound <= CEILING
    seen = surface.observe(victim, generator(0)).tensors["layer.1.ffn.in.weight"]
    ids = victim.secret.ids.clone()
    for other, smaller in ((ids, True), (ids.index_fill(1, torch.tensor([2]), 7), False)):
        replay = victim.model.gradients(other, victim.secret.labels, surface.observe(victim, generator(0)).places)
        residual = float((replay["layer.1.ffn.in.weight"][0] - seen).norm() / seen.norm())
        assert (residual <= bound) is smaller


def test_a_single_item_gets_its_null_control_from_the_projects_own_sentences(tmp_path: Path) -> None:
    (found,) = run(_plan(count=1), tmp_path / "run").records
    assert set(found.null) == set(found.scores)
    assert found.null["rouge1"] < found.scores["rouge1"]


def test_the_same_text_twice_is_no_control(tmp_path: Path) -> None:
    plan = _plan(count=2)
    plan = replace(plan, items=(plan.items[0], plan.items[0], plan.items[1]))
    for found in run(plan, tmp_path / "run").records:
        assert found.null["exact_match"] == 0


def test_texts_are_masked_unless_asked_for(tmp_path: Path) -> None:
    finished = run(_plan(show_private=False), tmp_path / "run")
    content = "".join(path.read_text() for path in (tmp_path / "run").iterdir())
    assert all(found.texts.redacted for found in finished.records)
    for text, _ in TEXTS:
        assert not any(word in content for word in text.split() if len(word) > 4)
    assert finished.records[0].scores["exact_match"] == 1


def test_the_same_seed_gives_the_same_records(tmp_path: Path) -> None:
    surface = GradientSurface(dropout=True, release=Release(noise=0.01))
    first, again = (run(_plan(surface=surface), tmp_path / name).records for name in "ab")
    assert [replace(r, seconds=0.0) for r in first] == [replace(r, seconds=0.0) for r in again]
    (other, *_) = run(_plan(surface=surface, seed=1), tmp_path / "c").records
    assert other.key != first[0].key


def test_every_attack_on_a_cell_sees_the_same_draw(tmp_path: Path) -> None:
    surface = GradientSurface(dropout=True, release=Release(noise=0.01))
    plan = _plan(TableSpan(), TableSpan(tolerance=1e-4), surface=surface, count=1)
    renamed = replace(plan.roles[1], role="baseline")
    one, two = run(replace(plan, roles=(plan.roles[0], renamed)), tmp_path / "run").records
    assert one.certificate == two.certificate
    assert one.texts == two.texts


def test_batches_are_one_item(tmp_path: Path) -> None:
    finished = run(_plan(Scripted(), batch=2), tmp_path / "run")
    assert [found.item["size"] for found in finished.records] == [2, 1]
    assert len(finished.records[0].texts.secret) == 2


@pytest.mark.parametrize("cut", ["line", "character", "nothing"])
def test_resume_after_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path, cut: str) -> None:
    plan = _plan(select=("0.query", "0.key"))
    whole = run(plan, tmp_path / "run").records
    file = tmp_path / "run" / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6
    tail = {"line": lines[4][:100], "character": lines[4].replace(b"}", "é".encode())[:50] + b"\xc3", "nothing": b""}
    file.write_bytes(b"".join(lines[:4]) + tail[cut])
    kept = file.read_bytes()[: sum(map(len, lines[:4]))]
    steps: list[Step] = []
    again = run(plan, tmp_path / "run", resume=True, progress=steps.append)
    assert file.read_bytes().startswith(kept)
    assert [found.key for found in again.records] == [found.key for found in whole]
    assert [replace(r, seconds=0.0) for r in again.records] == [replace(r, seconds=0.0) for r in whole]
    assert len(_lines(tmp_path / "run")) == 6
    assert [step.done for step in steps if step.record] == [5, 6]


def test_a_finished_run_resumes_without_work(tmp_path: Path) -> None:
    run(_plan(), tmp_path / "run")
    steps: list[Step] = []
    finished = run(_plan(), tmp_path / "run", resume=True, progress=steps.append)
    assert not steps
    assert len(finished.records) == 3


def test_more_texts_go_on_with_the_same_run(tmp_path: Path) -> None:
    run(_plan(count=2), tmp_path / "run")
    finished = run(_plan(count=3), tmp_path / "run", resume=True)
    assert len(finished.records) == len(_lines(tmp_path / "run")) == 3


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"family": "distilbert"}, "model"),
        ({"surface": GradientSurface(dropout=True)}, "surface"),
    ],
)
def test_resuming_another_run_is_refused(tmp_path: Path, changed: dict[str, object], name: str) -> None:
    run(_plan(count=1), tmp_path / "run")
    with pytest.raises(BadInput, match=f"--resume .* holds a run with other {name}"):
        run(_plan(count=1, **changed), tmp_path / "run", resume=True)
    assert len(_lines(tmp_path / "run")) == 1


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="is not empty"):
        run(_plan(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(BadInput, match="is a file"):
        run(_plan(), tmp_path / "file")


def test_an_interrupt_leaves_a_folder_that_reports_and_resumes(tmp_path: Path) -> None:
    finished = run(_plan(Interrupting()), tmp_path / "run")
    assert finished.interrupted
    assert len(finished.records) == 2
    assert page.write(tmp_path / "run").is_file()
    again = run(_plan(Interrupting()), tmp_path / "run", resume=True)
    assert not again.interrupted
    assert len(again.records) == len(_lines(tmp_path / "run")) == 3


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = record.append
    written: list[int] = []

    def full(path: Path, found: record.Record) -> None:
        if len(written) == 2:
            with path.open("a") as file:
                file.write('{"key": "half a li')
            raise StorageError(str(path), "No space left on device")
        written.append(1)
        original(path, found)

    monkeypatch.setattr(record, "append", full)
    with pytest.raises(StorageError, match=r"No space left on device.*--resume"):
        run(_plan(), tmp_path / "run")
    assert len(_lines(tmp_path / "run")) == 2
    monkeypatch.setattr(record, "append", original)
    assert len(run(_plan(), tmp_path / "run", resume=True).records) == 3
    assert len(_lines(tmp_path / "run")) == 3


def test_no_budget_left_means_no_run_begun(tmp_path: Path) -> None:
    attack = Scripted(wait=0.05)
    finished = run(_plan(attack, budget=0.01), tmp_path / "run")
    assert len(finished.records) == 1
    assert finished.total == 3


def test_a_cell_that_shows_nothing_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    plan = _plan(select=("0.query", "embedding"), count=1)
    quiet = fresh("bert")
    # Without the pooler's way to the output nothing reaches the layers; the head's bias still moves.
    with torch.no_grad():
        quiet.model.module.classifier.weight.zero_()
    mechanism = TorchMechanism(model=quiet.model)
    cells = prepare.cells(quiet.model, GradientSurface(), ("0.query", "classifier.bias"))
    subject = replace(plan.subject, model=quiet.model, mechanism=mechanism)
    plan = replace(plan, subject=subject, cells=cells, roles=_plan(Scripted()).roles)
    plan = replace(plan, roles=(replace(plan.roles[0], cells=(0, 1)),))
    first, second = run(plan, tmp_path / "run").records
    assert first.outcome is Outcome.ABSENT
    assert first.reason == "every number that was seen is zero"
    assert second.outcome is Outcome.APPROXIMATE
    with pytest.raises(NoSignal, match="zero everywhere"):
        run(replace(plan, cells=cells[:1], roles=(replace(plan.roles[0], cells=(0,)),)), tmp_path / "alone")


def test_grid_cells_are_linear_maps_and_combinations_have_names() -> None:
    model = loaded("bert").model
    cells = prepare.cells(model, GradientSurface(), ("grid",))
    assert [(c.cell.layer, c.cell.component) for c in cells[:2]] == [(0, "query"), (0, "key")]
    assert cells[0].cell.parameters == 32 * 32
    assert cells[0].cell.share == 32 * 32 / model.parameters
    assert len(prepare.cells(model, GradientSurface(), ("grid:0.*",))) == 6
    (both,) = prepare.cells(model, GradientSurface(), ("0.query+1.query",))
    assert (both.cell.layer, both.cell.component) == (None, "0.query+1.query")
    with pytest.raises(BadInput, match="nearest"):
        prepare.cells(model, GradientSurface(), ("grid:7.*",))


def test_the_baseline_is_spread_over_layers_and_components() -> None:
    assert spread(6, 36) == (0, 7, 14, 21, 28, 35)
    assert spread(3, 2) == (0, 1)
    assert spread(1, 5) == (0,)
    assert spread(0, 5) == ()


def test_run_json_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError):
        run(_plan(), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_damaged_head_is_bad_input(tmp_path: Path) -> None:
    run(_plan(count=1), tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(BadInput, match=r"run\.json"):
        run(_plan(count=1), tmp_path / "run", resume=True)


def test_the_report_of_a_run_without_a_secret_shows_what_came_back(tmp_path: Path) -> None:
    plan = replace(_plan(count=1), items=(None,))
    victim = _victim()
    seen = GradientSurface(select="0.query").observe(victim, generator(0))
    path = gradient_file.write(seen, tmp_path / "seen.safetensors")
    surface = gradient_file.GradientFile(path=str(path))
    plan = replace(plan, cells=prepare.cells(plan.subject.model, surface, ("all",), places=seen.places))
    finished: Finished = run(plan, tmp_path / "run")
    (found,) = finished.records
    assert found.scores == {}
    assert found.texts.recovered == (TEXTS[0][0],)
    assert found.outcome is Outcome.CERTIFIED
    assert load(tmp_path / "run").records


def _victim() -> Victim:
    plan = _plan(count=1)
    return plan.subject.victim(plan.items[0])
