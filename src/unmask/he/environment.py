"""The environment in which OpenFHE runs: find an interpreter, build it, check it.

OpenFHE's wheels claim to fit every Python, and each holds the binary of one: 1.6.1.0.22.4 that of 3.10, built on
Ubuntu 22.04; 1.6.1.0.24.4 that of 3.12, built on 24.04. Installing therefore proves nothing, and importing does.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unmask.errors import BadInput
from unmask.he.errors import BackendError

RELEASES = {(3, 10): "1.6.1.0.22.4", (3, 12): "1.6.1.0.24.4"}
"""Python version to the release of openfhe whose binary is for it."""
VARIABLE = "UNMASK_HE_PYTHON"
ASK = "import sys, json; print(json.dumps([sys.version_info[0], sys.version_info[1]]))"
IMPORT = "import openfhe, numpy; print(openfhe.get_native_int())"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An interpreter and its version."""

    python: Path
    version: tuple[int, int]


def home() -> Path:
    """Return the folder of the environment, in the user's cache and outside of any project."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "unmask" / "he" / "openfhe"


def find() -> Path | None:
    """Return the interpreter of the environment that was set up, or None.

    `UNMASK_HE_PYTHON` names another one.
    """
    named = os.environ.get(VARIABLE)
    python = Path(named) if named else home() / "bin" / "python"
    return python if python.exists() else None


def required() -> Path:
    """Return the interpreter of the environment.

    Raises:
        BadInput: if there is none.
    """
    python = find()
    if python is None:
        raise BadInput("--backend", "openfhe", "is not set up on this machine", "run: unmask he setup")
    return python


def candidates() -> tuple[Candidate, ...]:
    """Return the interpreters of a fitting version on PATH and under pyenv, uv and conda, best first.

    `/usr/bin/python3.10` is one, `python3` may be one; each file counts once.
    """
    found: dict[Path, Candidate] = {}
    for path in _places():
        real = path.resolve()
        version = _version(path) if real not in found else None
        if version in RELEASES:
            found[real] = Candidate(python=path, version=version)
    return tuple(sorted(found.values(), key=lambda each: each.version))


def _places() -> Iterator[Path]:
    names = [f"python{major}.{minor}" for major, minor in RELEASES]
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        # The shims of pyenv only tell which version is chosen; the versions themselves come below.
        if folder and "shims" not in folder:
            yield from (Path(folder) / name for name in (*names, "python3") if (Path(folder) / name).is_file())
    user = Path.home()
    roots = [Path(os.environ.get("PYENV_ROOT", user / ".pyenv")) / "versions"]
    roots += [Path(os.environ.get("UV_PYTHON_INSTALL_DIR", user / ".local/share/uv/python"))]
    roots += [user / name / "envs" for name in ("miniconda3", "anaconda3", "miniforge3", "mambaforge", ".conda")]
    for root in roots:
        yield from sorted(path for path in root.glob("*/bin/python3") if path.is_file())


def _version(python: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run([str(python), "-I", "-c", ASK], capture_output=True, text=True, timeout=30)
        major, minor = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return major, minor


def build(python: Path | None = None, *, say: Callable[[str], None] = print) -> Path:
    """Make the environment anew and return its interpreter.

    Args:
        python: the interpreter to build on, by default the first candidate that works.
        say: told of each step.

    Raises:
        BadInput: if the interpreter is of no version that OpenFHE has a binary for, or none is found.
        BackendError: if no candidate's environment can import OpenFHE, with what each said.
    """
    choices = [_named(python)] if python else list(candidates())
    if not choices:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in RELEASES)
        rule = f"is not {wanted}, and no other interpreter was found on PATH, in pyenv, uv or conda"
        remedy = "install one, such as: uv python install 3.10, and give --python if it is not found"
        raise BadInput("--python", sys.executable, rule, remedy)
    failures = []
    for choice in choices:
        major, minor = choice.version
        say(f"building on {choice.python} (Python {major}.{minor}) in {home()}")
        try:
            return _built(choice)
        except BackendError as error:
            failures.append(f"{choice.python}: {error}")
            say(str(error))
    raise BackendError("OpenFHE could not be set up; " + "; ".join(failures))


def _named(python: Path) -> Candidate:
    version = _version(python)
    if version is None:
        raise BadInput("--python", str(python), "is no Python interpreter that runs", "give the path of one")
    if version not in RELEASES:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in RELEASES)
        rule = f"is Python {version[0]}.{version[1]}, for which OpenFHE has no binary"
        raise BadInput("--python", str(python), rule, f"give one of Python {wanted}")
    return Candidate(python=python, version=version)


def _built(choice: Candidate) -> Path:
    folder = home()
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([str(choice.python), "-m", "venv", str(folder)], "make the environment")
    python = folder / "bin" / "python"
    packages = [f"openfhe=={RELEASES[choice.version]}", "numpy"]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    _run([*pip, *packages], "install OpenFHE")
    _run([str(python), "-I", "-c", IMPORT], "import OpenFHE")
    return python


def _run(command: list[str], purpose: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"could not {purpose}: {error}") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise BackendError(f"could not {purpose}: {words[-1]}")
