import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny import victim
from unmask.errors import BadInput, NoSignal
from unmask.observation import Knowledge
from unmask.rng import generator
from unmask.surface import Release
from unmask.surfaces import gradient_file
from unmask.surfaces.gradient import GradientSurface
from unmask.surfaces.gradient_file import GradientFile


def _written(tmp_path: Path, family: str = "bert", **settings: object) -> Path:
    seen = GradientSurface(**settings).observe(victim(family), generator(0))
    return gradient_file.write(seen, tmp_path / "seen.safetensors")


def test_what_was_seen_comes_back_with_what_was_known(tmp_path: Path) -> None:
    settings = {"select": "0.query+1.key", "knows_labels": True, "knows_lengths": True, "release": Release(noise=0.1)}
    seen = GradientSurface(**settings).observe(victim("bert"), generator(0))
    path = gradient_file.write(seen, tmp_path / "seen.safetensors")
    found = GradientFile(path=str(path)).observe(victim("bert"), generator(1))
    assert found.knowledge == seen.knowledge
    assert set(found.tensors) == set(seen.tensors)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in seen.tensors.items())


def test_a_part_of_a_file_and_a_second_release(tmp_path: Path) -> None:
    path = _written(tmp_path)
    surface = GradientFile(path=str(path), select="0.query").with_release(Release(dtype="bfloat16"))
    found = surface.observe(victim("bert"), generator(0))
    assert list(found.tensors) == ["layer.0.query.weight"]
    assert found.knowledge.dtype == "bfloat16"
    assert torch.equal(found.tensors["layer.0.query.weight"].bfloat16().float(), found.tensors["layer.0.query.weight"])


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("before", ["", "module."])
def test_parameters_under_their_own_names_are_accepted(tmp_path: Path, family: str, before: str) -> None:
    who = victim(family)
    seen = GradientSurface().observe(who, generator(0))
    parameters = {name: p.detach().requires_grad_() for name, p in who.mechanism.parameters().items()}
    loss = who.mechanism.loss(parameters, who.secret, dropout=False, generator=torch.Generator())
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    raw = {before + name: grad for name, grad in zip(parameters, grads, strict=True) if grad is not None}
    save_file(raw, tmp_path / "raw.safetensors")
    knowledge = Knowledge(batch=3)
    found = gradient_file.read(tmp_path / "raw.safetensors", who.model, knowledge)
    assert found.knowledge == knowledge
    for name, tensor in found.tensors.items():
        torch.testing.assert_close(tensor, seen.tensors[name])
    assert {name for name, tensor in seen.tensors.items() if tensor.any()} <= set(found.tensors)


def test_a_file_of_another_model_says_which_shapes_differ(tmp_path: Path) -> None:
    path = _written(tmp_path, "bert", select="0.query")
    with pytest.raises(BadInput, match="belongs to another model") as caught:
        GradientFile(path=str(path)).observe(victim("llama"), generator(0))
    text = str(caught.value)
    assert "x32, here absent" in text
    assert "here absent" in text
    assert "tiny-bert" in text
    assert "\n" not in text


def test_a_file_of_a_model_with_the_same_shapes_and_other_weights(tmp_path: Path) -> None:
    path = _written(tmp_path, "bert")
    other = victim("bert", fresh_model=True)
    with torch.no_grad():
        other.model.embedding()[5] += 1.0
    with pytest.raises(BadInput, match="token embeddings are not those of tiny-bert"):
        GradientFile(path=str(path)).observe(other, generator(0))


def test_raw_names_or_shapes_that_do_not_fit(tmp_path: Path) -> None:
    save_file({"classifier.weight": torch.ones(7, 32)}, tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match=r"classifier\.weight is 7x32, here 2x32"):
        gradient_file.read(tmp_path / "a.safetensors", victim("bert").model, Knowledge())
    save_file({"encoder.nothing": torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(BadInput, match=r"encoder\.nothing is 2, here absent"):
        gradient_file.read(tmp_path / "b.safetensors", victim("bert").model, Knowledge())


@pytest.mark.parametrize(
    ("value", "error", "words"), [(float("nan"), BadInput, "NaN or infinite"), (0.0, NoSignal, "zero everywhere")]
)
def test_numbers_that_cannot_be_attacked(tmp_path: Path, value: float, error: type[Exception], words: str) -> None:
    save_file({"classifier.weight": torch.full((2, 32), value)}, tmp_path / "raw.safetensors")
    with pytest.raises(error, match=words):
        gradient_file.read(tmp_path / "raw.safetensors", victim("bert").model, Knowledge())


def test_files_that_are_none(tmp_path: Path) -> None:
    model = victim("bert").model
    with pytest.raises(BadInput, match="is no file"):
        gradient_file.read(tmp_path / "nothing", model, Knowledge())
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BadInput, match="is no safetensors file"):
        gradient_file.read(tmp_path / "text", model, Knowledge())
    for header in ("{", "[]", json.dumps({"schema": 99})):
        save_file({"classifier.weight": torch.ones(2, 32)}, tmp_path / "h", metadata={"unmask": header})
        with pytest.raises(BadInput, match="header"):
            gradient_file.read(tmp_path / "h", model, Knowledge())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _written(tmp_path, select="0.query")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        _written(tmp_path, select="1.query")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
