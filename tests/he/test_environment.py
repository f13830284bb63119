"""Finding and checking the interpreter for OpenFHE, without a network."""

import sys
from pathlib import Path

import pytest

from unmask.errors import BadInput
from unmask.he import environment
from unmask.he.errors import BackendError


def fake(folder, version, *, venv=True):
    """An interpreter that tells a version, makes a folder when asked for an environment, and does nothing else."""
    path = folder / "python3"
    path.parent.mkdir(parents=True, exist_ok=True)
    body = f"""#!/bin/sh
case "$*" in
  *version_info*) echo '[{version[0]}, {version[1]}]' ;;
  *"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"import openfhe"*) echo "no module openfhe.openfhe" >&2; exit 1 ;;
esac
"""
    path.write_text(body)
    path.chmod(0o755)
    return path


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A machine without any interpreter."""
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "HOME", "XDG_CACHE_HOME", "PATH"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin:/usr/bin")
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.setattr(environment, "_places", lambda: iter(()))
    return tmp_path


def test_without_a_fitting_interpreter_the_way_out_is_named(alone):
    with pytest.raises(BadInput, match="uv python install"):
        environment.build(say=lambda _: None)
    with pytest.raises(BadInput, match="unmask he setup"):
        environment.required()
    assert environment.find() is None


def test_an_interpreter_of_the_wrong_version_is_refused_before_anything_is_built(alone):
    wrong = fake(alone / "old", (3, 9))
    with pytest.raises(BadInput, match=r"3\.9, for which OpenFHE has no binary"):
        environment.build(wrong)
    with pytest.raises(BadInput, match="no Python interpreter that runs"):
        environment.build(alone / "nothing")
    assert not environment.home().exists()


def test_an_environment_that_installs_and_does_not_import_is_told(alone):
    """What pip calls a success on the wrong interpreter."""
    with pytest.raises(BackendError, match=r"could not import OpenFHE: no module openfhe\.openfhe"):
        environment.build(fake(alone / "liar", (3, 10)), say=lambda _: None)


def test_interpreters_are_found_once_each_and_the_tested_version_first(alone, monkeypatch):
    new, old = fake(alone / "b", (3, 12)), fake(alone / "a", (3, 10))
    other = Path(sys.executable)
    monkeypatch.setattr(environment, "_places", lambda: iter([new, old, new, other, alone / "gone"]))
    assert [found.version for found in environment.candidates()][:2] == [(3, 10), (3, 12)]
    assert [found.python for found in environment.candidates()].count(new) == 1


def test_pyenv_is_searched(monkeypatch, tmp_path):
    python = fake(tmp_path / "versions" / "3.10.13" / "bin", (3, 10))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert python in [found.python for found in environment.candidates()]


def test_a_variable_names_another_interpreter(monkeypatch):
    monkeypatch.setenv(environment.VARIABLE, sys.executable)
    assert environment.find() == Path(sys.executable)
