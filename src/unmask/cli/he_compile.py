"""`unmask he plan` and `unmask he compile`: what an encrypted network takes, and the package that is served."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from safetensors import SafetensorError
from safetensors.numpy import load

from unmask.cli.console import emit
from unmask.errors import BadInput
from unmask.he.compiler import compile_network
from unmask.he.package import Package, save_package
from unmask.he.packing import Array
from unmask.he.planner import Plan
from unmask.poly.demo import find

Folder = Annotated[
    Path, typer.Argument(help="Folder of a polynomial network, or fashion-mnist-poly, which is bundled.")
]
Batch = Annotated[
    int | None, typer.Option(help="Inputs in one ciphertext, a power of two; default: the most that fit.")
]
Memory = Annotated[float, typer.Option(help="GB that the server may take.")]
Ring = Annotated[int | None, typer.Option(help="log2 of the ring dimension; default: the cheapest of 14, 15 and 16.")]
Calibration = Annotated[
    Path | None,
    typer.Option(help="safetensors file with `inputs`, (count, tokens, features): their range, and for bootstraps."),
]


def plan(
    folder: Folder,
    batch: Batch = None,
    memory: Memory = 12.0,
    ring: Ring = None,
    calibration: Calibration = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an encrypted inference takes: levels, operations, keys, seconds, memory. No key is made."""
    _, planned = _compiled(folder, batch, memory, ring, calibration)
    _show(planned, as_json)


def compile_(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Folder of the package.")],
    batch: Batch = None,
    memory: Memory = 12.0,
    ring: Ring = None,
    calibration: Calibration = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compile a polynomial network into a package for `unmask he keygen`, `serve` and `query`."""
    package, planned = _compiled(folder, batch, memory, ring, calibration)
    save_package(package, out)
    _show(planned, as_json)


def _compiled(
    folder: Path, batch: int | None, memory: float, ring: int | None, calibration: Path | None
) -> tuple[Package, Plan]:
    network = find(folder)
    inputs = None if calibration is None else _inputs(calibration)
    rings = (14, 15, 16) if ring is None else (ring,)
    return compile_network(network, batch=batch, calibration=inputs, memory=int(memory * 1e9), rings=rings)


def _inputs(path: Path) -> Array:
    try:
        return np.asarray(load(path.read_bytes())["inputs"], dtype=np.float64)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        remedy = "give a safetensors file with a tensor `inputs`"
        raise BadInput("--calibration", str(path), f"cannot be read ({error})", remedy) from error


def _show(planned: Plan, as_json: bool) -> None:
    if as_json:
        emit(planned.to_json())
        return
    for name, value in planned.lines():
        print(f"{name:24} {value}")
