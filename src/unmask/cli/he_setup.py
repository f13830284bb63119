"""`unmask he setup`: the environment in which OpenFHE runs."""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from unmask.cli import console, options
from unmask.errors import BadInput
from unmask.he import environment
from unmask.he.errors import BackendError
from unmask.he.library import both
from unmask.he.parameters import Parameters

PARAMETERS = Parameters(ring=14, levels=2, scale=40, first=60)


def command(
    python: Annotated[
        Path | None, typer.Option(help="Interpreter to build on; default: one that fits is searched.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the environment that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Build the environment for OpenFHE in the user's cache and prove it by one encrypted multiplication."""
    if not check:
        environment.build(python, say=console.note)
    elif python is not None:
        raise BadInput("--python", str(python), "chooses what is built", "leave it out with --check")
    began = time.monotonic()
    error = multiplication()
    facts = {
        "python": str(environment.required()),
        "error": error,
        "seconds": round(time.monotonic() - began, 2),
        "security": 128,
    }
    if json:
        console.emit(facts)
        return
    print(f"OpenFHE works in {facts['python']}")
    print(f"one encrypted multiplication at 128 bits of security: error {error:.1e}, {facts['seconds']} s with keys")


def multiplication() -> float:
    """Return the largest error of an encrypted product of real keys.

    Raises:
        BackendError: if it is no product of what was encrypted.
    """
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, PARAMETERS.slots))
    with (
        tempfile.TemporaryDirectory() as folder,
        both(Path(folder) / "keys", "openfhe", PARAMETERS, ()) as (holder, server),
    ):
        product = server.multiply(server.load(holder.encrypt(x)), server.load(holder.encrypt(y)))
        error = float(np.abs(holder.decrypt(server.serialise(product)) - x * y).max())
    if not error < 1e-4:
        raise BackendError(f"an encrypted product is wrong by {error:.1e}; report it with the output of unmask doctor")
    return error
