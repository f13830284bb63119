import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unmask.auditor import network
from unmask.cli import main
from unmask.victims.images import sample
from unmask.victims.mlp import Descent, targets, train

Run = Callable[..., tuple[int, str, str]]
AUDIT = ("audit", "--surface", "parameters")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "WIDTH", 384)
    monkeypatch.setattr(network, "TRAINING", Descent(learning_rate=3e-3, steps=150, loss=1e-4))


def records(folder: Path) -> dict[str, dict[str, object]]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return {record["cell"]["component"]: record for record in map(json.loads, lines)}


def test_a_network_trained_on_the_spot_gives_its_images_away_and_the_control_does_not(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main([*AUDIT, "--limit", "5", "--cell-seconds", "3s", "--out", str(out)]) == 0
    found = records(out)
    scores = {name: record["scores"] for name, record in found.items()}
    assert scores["weights"]["recovered"] == 1.0  # type: ignore[index]
    assert found["weights"]["null"]["recovered"] == 0.0  # type: ignore[index]
    # Dealing the change to other neurons leaves its span: with luck one image is found in it.
    assert scores["shuffled weights"]["recovered"] <= 0.2  # type: ignore[index]
    assert len(found["weights"]["pictures"]) == 5  # type: ignore[arg-type]
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "weights before training are known" in page


def test_weights_of_the_users_are_read_without_the_images(tmp_path: Path) -> None:
    model = network.PublicMLP(shape=(1, 28, 28), hidden=(384,))
    pixels = sample().pixels[:4]
    start = network.initial(model, torch.Generator().manual_seed(0), torch.float32)
    wanted = targets(torch.arange(4) % 2, 2).float()
    final = train(model, start, pixels.flatten(1), wanted, network.TRAINING).weights
    files = [tmp_path / "before.safetensors", tmp_path / "after.safetensors"]
    for file, weights in zip(files, (start, final), strict=True):
        save_file(weights, file)
    given = ("--weights-before", str(files[0]), "--weights-after", str(files[1]), "--cell-seconds", "3s")
    out = tmp_path / "run"
    assert main([*AUDIT, *given, "--show-private", "--out", str(out)]) == 0
    record = records(out)["weights"]
    assert record["scores"] == {} and record["model"] == "after"
    assert [bool(p["recovered"]) for p in record["pictures"]] == [True] * 4  # type: ignore[attr-defined]
    assert "4 of 4 columns (rank of the change)" in str(record["reason"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights-before", "a.safetensors"), "comes alone"),
        (("--weights-before", "a.pt", "--weights-after", "b.pt"), "pickled checkpoint"),
        (("--texts", "a.txt"), "has no meaning on the parameters surface"),
        (("--labels", "known"), "has no meaning on the parameters surface"),
        (("--batch", "2"), "has no meaning on the parameters surface"),
        (("--clip", "1.0"), "has no meaning on the parameters surface"),
        (("--defence", "token-noise"), "is no defence of published weights"),
        (("--defence", "distillation:count=3", "--defence", "early-stopping"), "once"),
        (("--attack", "span"), "does not read the parameters surface"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*AUDIT, *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_network_is_trained_under_a_defence_and_the_report_says_so(tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ("--defence", "distillation:count=2,steps=50", "--limit", "5", "--cell-seconds", "2s")
    assert main([*AUDIT, *given, "--out", str(out)]) == 0
    assert records(out)["weights"]["scores"]["recovered"] == 0.0  # type: ignore[index]
    assert "distillation: none: empirical only" in (out / "report.html").read_text()


def test_equal_weights_and_those_of_another_network_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = torch.nn.Sequential(torch.nn.Linear(4, 7), torch.nn.ReLU(), torch.nn.Linear(7, 1)).state_dict()
    other = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)).state_dict()
    broken = first | {"0.bias": torch.full((7,), torch.nan)}
    for name, weights in (("first", first), ("other", other), ("broken", broken)):
        save_file(weights, tmp_path / f"{name}.safetensors")
    for after, message in (
        ("first", "equal the weights before training"),
        ("other", "has layers of (4, 8, 1)"),
        ("broken", "not finite"),
    ):
        files = [str(tmp_path / f"{name}.safetensors") for name in ("first", after)]
        assert main([*AUDIT, "--weights-before", files[0], "--weights-after", files[1]]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_weights_go_with_their_surface(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--weights-before", "a.safetensors", "--weights-after", "b.safetensors"]) == 2
    assert "add --surface parameters" in capsys.readouterr().err
