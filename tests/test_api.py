import subprocess
import sys
from pathlib import Path

import pytest

import unmask
from tests.stubs import Scripted, TableSpan
from tests.tiny import TEXTS, fresh, network, tokenizer
from unmask.api import audit, examples, roles, subject
from unmask.errors import BadInput
from unmask.surfaces.activation import ActivationSurface

SENTENCES = [text for text, _ in TEXTS]


def test_public_names_are_listed_sorted_and_there() -> None:
    assert unmask.__all__ == sorted(unmask.__all__)
    assert set(unmask.__all__) <= set(dir(unmask))
    for name in unmask.__all__:
        assert getattr(unmask, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = unmask.nothing


def test_the_package_and_the_report_need_no_torch() -> None:
    modules = "unmask, unmask.report.page, unmask.cli.report, unmask.cli.listing"
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_audit_in_a_few_lines(tmp_path: Path) -> None:
    model = (network("bert"), tokenizer("bert"))
    result = audit(model, SENTENCES, select="0.value", attacks=[TableSpan()], out=tmp_path / "run")
    assert result.leak == 1
    lines = result.table().splitlines()
    assert lines[0].split()[:2] == ["cell", "attack"]
    assert lines[1].startswith("layer 0 value  stub")
    assert result.report(tmp_path / "page.html").read_text().startswith("<!")
    assert result.path == tmp_path / "run"
    assert result.finished.records[0].texts.redacted


def test_activations_are_audited_with_their_own_attack(tmp_path: Path) -> None:
    model = (network("llama"), tokenizer("llama"))
    result = audit(model, SENTENCES[:2], select="1.block", surface=ActivationSurface(), out=tmp_path / "run")
    assert result.leak == 1
    assert result.rows[0].attack == "activation-span"
    with pytest.raises(BadInput, match="batch 2"):
        audit(model, SENTENCES, surface=ActivationSurface(), batch=2)
    with pytest.raises(BadInput, match="does not read the attention surface"):
        audit(model, SENTENCES, surface=ActivationSurface(), attacks=["span"], select="0.block")


def test_a_model_folder_or_a_pair_or_a_wrapped_one(tmp_path: Path) -> None:
    who = fresh("bert")
    who.model.module.save_pretrained(tmp_path)
    who.tokenizer.save_pretrained(tmp_path)
    assert subject(tmp_path).model.parameters == subject(who).model.parameters
    assert subject((network("gpt2"), tokenizer("gpt2"))).model.classes is None


def test_pairs_of_another_kind() -> None:
    with pytest.raises(BadInput, match="is no transformers tokenizer"):
        subject((network("bert"), "bert"))
    with pytest.raises(BadInput, match="no head"):
        subject((network("bert").bert, tokenizer("bert")))


def test_a_tokenizer_with_more_tokens_than_the_model() -> None:
    larger = tokenizer("bert")
    larger.add_tokens(["extra"])
    with pytest.raises(BadInput, match="token embeddings but its tokenizer has"):
        subject((network("bert"), larger))


def test_texts_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert [example.text for example in examples(tmp_path / "a.txt")] == ["one", "two"]
    assert [example.label for example in examples(["a", "b"], [0, 1])] == [0, 1]
    assert len(examples(None)) >= 48
    with pytest.raises(BadInput, match="not as many"):
        examples(["a"], [0, 1])


def test_the_baseline_runs_beside_the_strongest_and_not_twice() -> None:
    found = roles([TableSpan()], Scripted(), 36, 6)
    assert [(role.attack.name, role.role, len(role.cells)) for role in found] == [
        ("stub", "strongest", 36),
        ("scripted", "baseline", 6),
    ]
    assert len(roles([Scripted()], Scripted(), 36, 6)) == 1
    assert len(roles([TableSpan()], None, 36, 6)) == 1
    assert len(roles([TableSpan()], Scripted(), 36, 0)) == 1
