"""A tiny model on the disk, sentences in a file, and attacks that work on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import TEXTS, fresh
from unmask import registry
from unmask.cli import main
from unmask.registry import Group

Run = Callable[..., tuple[int, str, str]]
"""Runs a command and returns exit code, stdout and stderr."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the models `bert` and `gpt2`."""
    folder = tmp_path_factory.mktemp("models")
    for family in ("bert", "gpt2"):
        who = fresh(family)
        who.model.module.save_pretrained(folder / family)
        who.tokenizer.save_pretrained(folder / family)
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Return a file with the private sentences."""
    file = tmp_path / "private.csv"
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in TEXTS))
    return file


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command with the attacks `stub` and `scripted` registered."""
    extra = {"stub": "tests.stubs:TableSpan", "scripted": "tests.stubs:Scripted", "stop": "tests.stubs:Interrupting"}
    attacks = {**registry.BUILT_IN[Group.ATTACK], **extra}
    monkeypatch.setattr(registry, "BUILT_IN", {**registry.BUILT_IN, Group.ATTACK: attacks})

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call
