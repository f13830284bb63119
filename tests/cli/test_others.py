import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.report.synthetic import everything
from unmask.cli.console import duration
from unmask.errors import BadInput
from unmask.record import append


def test_report_writes_the_page_of_a_run(run: Run, tmp_path: Path) -> None:
    for found in everything():
        append(tmp_path / "records.jsonl", found)
    code, out, _ = run("report", tmp_path, "--csv", tmp_path / "rows.csv")
    assert (code, out.strip()) == (0, str(tmp_path / "report.html"))
    assert (tmp_path / "rows.csv").is_file()


@pytest.mark.parametrize("arguments", [("report", "nowhere"), ("info", "nothing"), ("capture", "--out", "x")])
def test_bad_input(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_list_names_everything(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert (
        "attacks: span, soft-span, lamp, tag, dlg, bag, embedding-rows, activation-span, embedding-match, image-newton"
        in out
    )
    images, defended = ["attention", "attention-images"], ["noisy-tokens", "released-attention"]
    shared = ["store", "noisy-store", "store-state", "answer", "bounded-answer"]
    surfaces = ["gradient", "gradient-file", "dp-gradient", *images, *defended, "parameters", *shared]
    assert json.loads(run("list", "--json")[1])["surfaces"] == surfaces


@pytest.mark.parametrize("name", ["gradient", "lamp", "dlg", "perturb", "gradient-file", "stub"])
def test_info_describes_a_name(run: Run, name: str) -> None:
    code, out, _ = run("info", name)
    assert code == 0
    assert name in out.splitlines()[0]
    assert len(out.splitlines()) > 2


def test_doctor_says_what_is_there(run: Run) -> None:
    code, out, _ = run("doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["versions"]["torch"]
    assert set(facts["extras"]) == {"demo", "data", "privacy", "smollm", "he"}
    assert "versions: " in run("doctor")[1]


def test_help_needs_no_argument(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in ("audit", "report", "list", "info", "capture", "doctor"):
        assert name in out


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "-5s", "5 minutes", "5m5h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BadInput, match="is no duration"):
        duration(text, "--budget")
