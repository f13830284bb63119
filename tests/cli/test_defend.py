"""`unmask defend` and `unmask compare`: a private model with its guarantee, and what it changes, on one page."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.tiny import TEXTS, fresh
from unmask.cli import defend as defend_command
from unmask.defences.training import loop, self_test
from unmask.defences.training.check import Check
from unmask.defences.training.loop import CHECKPOINT
from unmask.defences.training.plan import Training
from unmask.defend import defend
from unmask.errors import BadInput, StorageError
from unmask.report import comparison
from unmask.report.folder import load
from unmask.victims import hf
from unmask.victims.module import Subject


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the accountants out of the self-test, as they take a second; they have a test of their own."""
    passed = Check(name="accountants", passed=True, measured="", expected="")
    monkeypatch.setattr(self_test, "accounted", lambda training, privacy, records: passed)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Many small steps are no faster with two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a file of forty examples."""
    file = tmp_path / "train.csv"
    lines = [f"{text},{label}" for text, label in TEXTS] * 13 + ["milk and eggs,0"]
    file.write_text("text,label\n" + "\n".join(lines) + "\n")
    return file


@pytest.fixture
def usual(models: Path, data: Path, tmp_path: Path) -> list[object]:
    """Return the arguments of a short private training whose guarantee is quick to compute."""
    arguments = ["defend", models / "bert", "--defence", "dp-sgd:noise=2.0,clip=0.5,delta=0.01", "--data", data]
    return [*arguments, "--batch", "40", "--epochs", "2", "--train", "1.*+head", "--out", tmp_path / "private"]


def test_a_model_is_defended_and_audited(
    run: Run, usual: list[object], data: Path, texts: Path, tmp_path: Path
) -> None:
    code, out, err = run(*usual, "--test", data)
    assert (code, err) == (0, "")
    assert out.startswith("Guarantee: epsilon ") and "[tested, whole-number arithmetic]" in out
    assert "Accuracy on --test: 0." in out or "Accuracy on --test: 1.0" in out
    written = json.loads((tmp_path / "private" / "defence.json").read_text())
    assert written["defence"]["noise"] == 2.0 and written["defence"]["steps"] == 2
    assert written["guarantee"]["scope"] == "all 2 steps, every intermediate model included"
    assert all(check["passed"] for check in written["checks"]) and len(written["checks"]) == 9
    assert not (tmp_path / "private" / CHECKPOINT).exists()

    audit = ["audit", "--texts", texts, "--attack", "stub", "--no-baseline", "--limit", "1", "--select", "0.value"]
    assert run(*audit, "--model", tmp_path / "private", "--out", tmp_path / "b")[0] == 0
    assert run(*audit, "--model", usual[1], "--out", tmp_path / "a")[0] == 0
    page = (tmp_path / "b" / "report.html").read_text()
    assert "What is guaranteed" in page and "training of the model" in page and "one training example" in page
    assert load(tmp_path / "b").trained["utility"].keys() == {"accuracy", "matthews"}
    assert "What is guaranteed" not in (tmp_path / "a" / "report.html").read_text()


def test_json_is_all_there_is_on_stdout(run: Run, usual: list[object]) -> None:
    code, out, _ = run(*usual, "--json", "--seed", "1")
    facts = json.loads(out)
    assert code == 0
    assert facts["guarantee"]["void"] is True and facts["sentence"].startswith("VOID")
    assert facts["facts"]["examples"] == 40


def test_without_a_defence_it_says_that_nothing_holds(run: Run, usual: list[object]) -> None:
    at = usual.index("--defence")
    code, out, _ = run(*usual[:at], *usual[at + 2 :])
    assert code == 0 and out.startswith("Guarantee: none: empirical only")


def test_delta_of_one_over_n_warns_in_one_line(run: Run, usual: list[object]) -> None:
    at = usual.index("--defence")
    code, _, err = run(*usual[: at + 1], "dp-sgd:noise=2.0,delta=0.1", *usual[at + 2 :])
    assert code == 0 and err.startswith("unmask: delta 0.1 is not below 1/N") and err.count("\n") == 1


def test_a_training_that_was_cut_off_goes_on(usual: list[object], data: Path, tmp_path: Path, run: Run) -> None:
    taken: list[int] = []

    class Cut(Exception):
        pass

    def cut(now: loop.Progress) -> None:
        taken.append(now.step)
        if now.step == 1:
            raise Cut

    guard = defend_command.defences.parse("dp-sgd:noise=2.0,clip=0.5,delta=0.01")
    training = Training(batch=40, epochs=3.0, train="1.*+head")
    with pytest.MonkeyPatch.context() as patch:
        clock = iter(range(0, 100_000, 100))
        patch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
        with pytest.raises(Cut):
            defend(str(usual[1]), data, out=tmp_path / "cut", defence=guard, training=training, progress=cut)
    assert (tmp_path / "cut" / CHECKPOINT).is_file()
    with pytest.raises(BadInput, match="is not empty"):
        defend(str(usual[1]), data, out=tmp_path / "cut", defence=guard, training=training)
    done = defend(
        str(usual[1]),
        data,
        out=tmp_path / "cut",
        defence=guard,
        training=training,
        resume=True,
        progress=lambda now: taken.append(now.step),
    )
    assert taken == [1, 2, 3]
    assert done.found.facts["steps"] == 3


def test_ctrl_c_says_how_to_go_on_and_the_same_command_with_resume_ends_it(
    run: Run, usual: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws: list[int] = []
    honest = loop.poisson

    def stopped(count: int, rate: float, randomness: object) -> list[int]:
        draws.append(count)
        if len(draws) == 2:
            raise KeyboardInterrupt
        return honest(count, rate, randomness)  # type: ignore[arg-type]

    clock = iter(range(0, 1_000_000, 100))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(loop, "poisson", stopped)
    code, out, err = run(*usual)
    assert (code, out) == (130, "")
    assert "unmask: stopped; go on with --out" in err and "--resume" in err
    assert [path.name for path in (tmp_path / "private").iterdir()] == [CHECKPOINT]
    assert run(*usual)[0] == 2  # without --resume nothing is written over
    code, out, _ = run(*usual, "--resume")
    assert code == 0 and "2 steps over 40 examples" in out
    assert len(draws) == 3  # one step was kept, the one that was stopped is drawn again
    assert not (tmp_path / "private" / CHECKPOINT).exists()


def test_a_plain_module_is_written_as_weights(tmp_path: Path) -> None:
    who = fresh("bert")
    plain = Subject(model=who.model, encode=who.encode)
    texts, labels = zip(*TEXTS, strict=True)
    guard = defend_command.defences.parse("dp-sgd:noise=2.0,delta=0.01")
    training = Training(batch=3, epochs=1.0, train="head")
    done = defend(plain, texts, labels=labels, out=tmp_path / "m", defence=guard, training=training)
    assert (done.path / "model.safetensors").is_file() and (done.path / "defence.json").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--defence": "perturb:noise=0.1"}, "--defence 'perturb' does not train a model"),
        ({"--defence": "dp-sgd:epsilon=1,noise=1"}, "noise 1.0 comes on top of epsilon"),
        ({"--defence": "dp-sgd:rate=0.1"}, "is decided by the training"),
        ({"--defence": "dp-sgd:epsilon=-1"}, "epsilon -1"),
        ({"--batch": "400"}, "--batch 400 is more than the 40 examples"),
        ({"--train": "9.query"}, "--train '9.query' matches nothing"),
        ({"--data": "nowhere.csv"}, "--data 'nowhere.csv' is not there"),
        ({"--epochs": "0"}, "--epochs 0.0"),
    ],
)
def test_bad_input_is_one_line(run: Run, usual: list[object], change: dict[str, str], said: str) -> None:
    for name, value in change.items():
        usual[usual.index(name) + 1] = value
    code, out, err = run(*usual)
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_a_disk_that_is_full(run: Run, usual: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> Path:
        raise StorageError(str(path), "No space left on device")

    monkeypatch.setattr(loop.storage, "replace_bytes", full)
    code, _, err = run(*usual)
    assert code == 2 and "No space left" in err


def test_runs_are_compared_on_one_page(run: Run, models: Path, texts: Path, tmp_path: Path) -> None:
    audit = ["audit", "--model", models / "bert", "--texts", texts, "--attack", "stub", "--no-baseline", "--limit", "1"]
    audit += ["--select", "0.value"]
    assert run(*audit, "--out", tmp_path / "plain")[0] == 0
    guarded = ("--defence", "dp-sgd:noise=50,clip=0.1", "--out", tmp_path / "noised")
    assert run(*audit, *guarded)[0] == 0
    for name, accuracy in (("plain", 0.9), ("noised", 0.7)):
        head = tmp_path / name / "run.json"
        facts = json.loads(head.read_text())
        facts["trained"] = {"utility": {"accuracy": accuracy}}
        head.write_text(json.dumps(facts))
    code, out, _ = run("compare", tmp_path / "plain", tmp_path / "noised", "--out", tmp_path / "c.html")
    assert (code, out.strip()) == (0, str(tmp_path / "c.html"))
    page = (tmp_path / "c.html").read_text()
    assert "Privacy against utility" in page and "void here" in page and "dp-sgd, epsilon" in page
    assert "://" not in page
    first, second = comparison.sides([tmp_path / "plain", tmp_path / "noised"])
    assert (first.label, first.epsilon, first.leak) == ("undefended", None, 1.0)
    assert second.epsilon is not None and second.leak < 1
    code, out, _ = run("compare", tmp_path / "plain", tmp_path / "noised", "--out", tmp_path / "c.html", "--json")
    assert json.loads(out)["utility"] == "accuracy"
    code, _, err = run("compare", tmp_path / "plain")
    assert code == 2 and "are no two runs" in err


@pytest.mark.parametrize(("defence", "cell"), [("dp-attention:epsilon=1", "0.probabilities.0"), ("token-noise", "")])
def test_a_defence_of_activations_chooses_its_surface(
    run: Run, models: Path, texts: Path, tmp_path: Path, defence: str, cell: str
) -> None:
    audit = [
        "audit",
        "--model",
        models / "bert",
        "--texts",
        texts,
        "--limit",
        "1",
        "--no-baseline",
        "--defence",
        defence,
    ]
    code, out, _ = run(*audit, "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0 and plan["defences"][0].startswith(
        f"{defence.partition(':')[0]}: VOID, the noise was seeded: epsilon 1"
    )
    assert plan["threat_model"][2].startswith(("The matrix of scores", "Every token's embedding"))
    shown = ["--select", "0.value"] if not cell else []
    code, _, err = run(*audit, *shown, "--cell-seconds", "1s", "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    (row,) = json.loads(run("compare", tmp_path / "run", tmp_path / "run", "--out", tmp_path / "c.html", "--json")[1])[
        "runs"
    ][:1]
    assert row["epsilon"] == 1.0 and row["leak"] < 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert "void here" in page and "Must look alike" in page
    code, _, err = run(*audit, "--surface", "gradient")
    assert code == 2 and "--surface attention" in err


@pytest.mark.parametrize(
    ("defence", "model", "fact"),
    [
        ("noisy-read:epsilon=1", "bert", "Scores are clipped to 1"),
        ("linear-state:epsilon=1", "bert", "It sees a state of 64 public random features"),
        ("bounded-decoding:epsilon=1", "gpt2", "Each token is drawn from a mixture"),
    ],
)
def test_a_defence_of_what_others_may_ask_chooses_its_surface(
    run: Run, models: Path, texts: Path, tmp_path: Path, defence: str, model: str, fact: str
) -> None:
    audit = ["audit", "--model", models / model, "--texts", texts, "--limit", "1", "--defence", defence]
    audit += ["--answer-tokens", "4", "--prompt", "the {} and"] if model == "gpt2" else ["--queries", "20"]
    code, out, _ = run(*audit, "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0 and plan["defences"][0].startswith(f"{defence.partition(':')[0]}: VOID")
    assert plan["threat_model"][2].startswith(fact)
    code, out, err = run(*audit, "--cell-seconds", "2s", "--out", tmp_path / "run")
    assert (code, err) == (0, "") and "Report: " in out
    page = (tmp_path / "run" / "report.html").read_text()
    assert "void here" in page and "Must look alike" in page
    code, _, err = run(*audit[:-4], "--defence", defence, "--surface", "gradient")
    assert code == 2 and "does not protect gradient" in err


def test_an_undefended_store_gives_the_text_away(run: Run, models: Path, texts: Path, tmp_path: Path) -> None:
    audit = ["audit", "--model", models / "bert", "--texts", texts, "--limit", "2", "--surface", "store"]
    code, out, err = run(*audit, "--select", "0.heads.2", "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "gives the text away exactly" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--surface", "store", "--prompt", "a {}"], "--prompt 'given' has no meaning on the store surface"),
        (["--surface", "gradient", "--queries", "3"], "--queries 'given' has no meaning on the gradient surface"),
        (["--surface", "answer", "--prompt", "no place"], "write {} once"),
        (["--surface", "answer"], "is no model of next tokens"),
        (["--surface", "store", "--batch", "2"], "--batch 2"),
        (["--surface", "store", "--select", "1.heads.0"], "one token moves every row"),
        (["--defence", "noisy-read:epsilon=0"], "epsilon 0"),
        (["--defence", "linear-state:features=0"], "features 0"),
        (["--defence", "bounded-decoding:delta=2"], "delta 2"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    run: Run, models: Path, texts: Path, arguments: list[str], said: str
) -> None:
    code, out, err = run("audit", "--model", models / "bert", "--texts", texts, *arguments)
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_a_head_on_a_frozen_encoder(run: Run, models: Path, data: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "private"
    arguments = ["defend", models / "bert", "--frozen", "--defence", "dp-sgd:noise=4.0,delta=0.01", "--data", data]
    code, shown, err = run(*arguments, "--epochs", "4", "--test", data, "--out", out)
    assert (code, err) == (0, "")
    assert "4 steps over 40 examples" in shown and "Accuracy on --test" in shown
    kept = json.loads((out / "defence.json").read_text())
    assert kept["facts"]["trained parameters"] == 66 and kept["training"]["learning_rate"] == 0.03
    assert kept["facts"]["rate"] == 1.0
    # What the head reads is remembered: the folder is the model that was measured.
    again = hf.load(str(out))
    assert again.model.module.config.unmask_pooling == "mean"
    audit = ["audit", "--model", out, "--texts", texts, "--limit", "1", "--attack", "stub", "--no-baseline"]
    assert run(*audit, "--select", "0.value", "--out", tmp_path / "run")[0] == 0
    code, _, err = run("defend", models / "gpt2", "--frozen", "--data", data, "--out", tmp_path / "other")
    assert code == 2 and "has no linear classifier" in err
