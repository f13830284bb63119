"""The audit of published weights in Python."""

from pathlib import Path

import pytest

from unmask import BadInput, audit, audit_weights
from unmask.auditor import network
from unmask.defences.trainings import DistilledTraining, EarlyStopping
from unmask.surfaces.published_weights import PublishedWeights
from unmask.victims.mlp import Descent


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "WIDTH", 384)
    monkeypatch.setattr(network, "TRAINING", Descent(learning_rate=3e-3, steps=150, loss=1e-4))


def test_the_images_come_back_unless_others_stood_in_for_them(tmp_path: Path) -> None:
    plain = audit_weights(limit=5, run_seconds=60.0, out=tmp_path / "plain")
    assert plain.leak > 0.95
    stopped = audit_weights(limit=5, run_seconds=60.0, defence=EarlyStopping(loss=0.2), out=tmp_path / "stopped")
    assert stopped.leak > 0.95
    few = audit_weights(limit=5, run_seconds=5.0, defence=DistilledTraining(count=2, steps=50), out=tmp_path / "few")
    assert few.leak < 0.6
    assert "distillation" in few.report().read_text()


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(BadInput, match=r"shows images, no texts.*audit_weights"):
        audit(surface=PublishedWeights())
    with pytest.raises(BadInput, match="without its other file"):
        audit_weights("before.safetensors")
    with pytest.raises(BadInput, match="applied while a network is trained"):
        audit_weights("a.safetensors", "b.safetensors", defence=EarlyStopping())
    with pytest.raises(BadInput, match="pickled checkpoint"):
        audit_weights("a.pt", "b.pt")
