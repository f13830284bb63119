"""Encrypted linear layers, matrix products and single operations on OpenFHE, beside TenSEAL."""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.rows import RESULTS, Row, versions
from unmask.he.backend import Evaluator, KeyHolder
from unmask.he.library import both
from unmask.he.linear_layer import LinearLayer
from unmask.he.matrix_product import MatrixProduct
from unmask.he.openfhe import OpenFheEvaluator
from unmask.he.parameters import Parameters
from unmask.he.series import levels
from unmask.poly.polynomial import Polynomial

LOG = RESULTS / "encrypted-operations.jsonl"
SIX = Parameters(ring=15, levels=6, scale=45, digits=1)
"""One digit: the modulus of 690 bits is secure at this ring, and a decomposition takes half as long as with three."""
ROUNDS = 5
COMMAND = "make bench TOPIC=encrypted ARGS=operations"
OPENFHE = {"openfhe": "1.6.1.0.22.4"}
TENSEAL = Path.home() / ".cache/unmask/he/tenseal/bin/python"
TABLES = {
    "operations 15": Parameters(ring=15, levels=11, scale=45),
    "operations 16": Parameters(ring=16, levels=24, scale=45),
}
REFRESHING = {
    "bootstrap": Parameters(ring=16, levels=23, scale=50, first=55, budget=(3, 3)),
    "bootstrap 58": Parameters(ring=16, levels=21, scale=58, first=60, digits=4, budget=(3, 3)),
}
NOTE = {"linear 128": 0.60, "linear 768": 2.34, "matrix 64": 2.28}
"""Seconds of the figures that are not to be exceeded: two threads, ring 2^15, six levels of 45 bits."""

Line = dict[str, float | int | str]


@contextmanager
def opened(parameters: Parameters, rotations: list[int]) -> Iterator[tuple[KeyHolder, Evaluator]]:
    """Make keys in a temporary folder and open both sides."""
    with (
        tempfile.TemporaryDirectory() as folder,
        both(Path(folder) / "keys", "openfhe", parameters, rotations) as sides,
    ):
        yield sides


def timed(server: Evaluator, work: Callable[[], object], rounds: int = ROUNDS) -> dict[str, float]:
    """Return least and median seconds of several runs, each waited for, and the least processor seconds of one."""
    seconds, processor = [], []
    for _ in range(rounds):
        spent, began = usage(server)["processor"], time.monotonic()
        held = work()
        after = usage(server)["processor"]
        seconds.append(time.monotonic() - began)
        processor.append(after - spent)
        del held
    return {"seconds": min(seconds), "median": statistics.median(seconds), "processor": min(processor)}


def linear(dimension: int) -> Line:
    """Measure a square matrix times an encrypted vector, the weights encoded before."""
    chance = np.random.default_rng(dimension)
    weight = chance.uniform(-1, 1, (dimension, dimension)) / dimension**0.5
    layer = LinearLayer(weight=weight, bias=np.zeros(dimension), parameters=SIX)
    x = chance.uniform(-1, 1, (1, dimension))
    with opened(SIX, list(layer.rotations)) as (client, server):
        a = server.load(client.encrypt(layer.pack(x)[0]))
        began = time.monotonic()
        held = server.prepare(layer.map(), layer.level)
        server.wait()
        encoding = time.monotonic() - began
        line = timed(server, lambda: server.linear(a, [held]))
        before = server.counts.key_switches
        (result,) = server.linear(a, [held])
        found = layer.unpack([client.decrypt(server.serialise(result))])
        error = float(np.abs(found - layer.clear(x)).max())
        return (
            line
            | {"encoding": encoding, "error": error, "switches": server.counts.key_switches - before}
            | memory(server)
        )


def matrix(dimension: int) -> Line:
    """Measure a product of two encrypted square matrices."""
    chance = np.random.default_rng(dimension)
    A, B = chance.uniform(-1, 1, (2, dimension, dimension))
    product = MatrixProduct(dimension=dimension, slots=SIX.slots)
    with opened(SIX, sorted(product.steps)) as (client, server):
        a, b = (server.load(client.encrypt(product.pack(each))) for each in (A, B))
        held = product.prepare(server, SIX.levels)
        line = timed(server, lambda: held(server, a, b))
        before = server.counts.key_switches
        result = held(server, a, b)
        switches = server.counts.key_switches - before
        error = float(np.abs(product.unpack(client.decrypt(server.serialise(result))) - A @ B).max())
        return line | {"error": error, "switches": switches} | memory(server)


def operations(parameters: Parameters) -> Line:
    """Measure each operation at the top level."""
    chance = np.random.default_rng(0)
    x, v = chance.uniform(-1, 1, (2, parameters.slots))
    top = parameters.levels
    with opened(parameters, [1, *range(2, 9)]) as (client, server):
        began = time.monotonic()
        sealed = client.encrypt(x)
        line: Line = {"encrypt": time.monotonic() - began, "ciphertext": len(sealed)}
        a = server.load(sealed)
        plain = server.encode(v, top)
        work: dict[str, Callable[[], object]] = {
            "encode": lambda: server.encode(v, top),
            "add": lambda: server.add(a, a),
            "plain product": lambda: server.multiply_plain(a, plain),
            "product": lambda: server.multiply_sum([(a, server.add(a, a))]),
            "square": lambda: server.multiply(a, a),
            "rotation": lambda: server.rotate(a, 1),
            "8 hoisted": lambda: server.rotate_many(a, range(1, 9)),
        }
        for degree in (7, 15, 27):
            polynomial = Polynomial(coefficients=tuple(chance.uniform(-1, 1, degree + 1)), interval=(-1.0, 1.0))
            work[f"degree {degree}"] = lambda p=polynomial: server.polynomial(a, p)
            result = client.decrypt(server.serialise(server.polynomial(a, polynomial)))
            line |= {f"degree {degree} error": float(np.abs(result - polynomial(x)).max())}
            line |= {f"degree {degree} levels": levels(polynomial)}
        for name, one in work.items():
            line[name] = timed(server, one, 3)["seconds"]
        began = time.monotonic()
        client.decrypt(server.serialise(a))
        line["decrypt"] = time.monotonic() - began
        return line | memory(server)


def bootstrap(parameters: Parameters) -> Line:
    """Measure refreshing a full ciphertext."""
    began = time.monotonic()
    with opened(parameters, [1]) as (client, server):
        made = time.monotonic() - began
        x = np.random.default_rng(0).uniform(-1, 1, parameters.slots)
        spent = server.load(client.encrypt(x, level=0))
        seconds = timed(server, lambda: server.bootstrap(spent), 1)["seconds"]
        fresh = server.bootstrap(spent)
        error = client.decrypt(server.serialise(fresh)) - x
        deviation = {"error": float(np.abs(error).max()), "deviation": float(error.std()), "levels": fresh.level}
        return {"seconds": seconds, "keys": made} | deviation | memory(server)


def tenseal() -> Line:
    """Measure TenSEAL in its own environment."""
    program = Path(__file__).with_name("encrypted_tenseal.py")
    done = subprocess.run([str(TENSEAL), str(program)], capture_output=True, text=True, check=True, timeout=600)
    found: Line = json.loads(done.stdout)
    return found


def usage(server: Evaluator) -> dict[str, float]:
    """Wait for the worker and return what it took so far."""
    assert isinstance(server, OpenFheEvaluator)
    return server.usage()


def memory(server: Evaluator) -> Line:
    """Return the worker's largest memory in GiB, and the threads."""
    return {"GiB": usage(server)["peak"] / 2**30, "threads": int(os.environ.get("OMP_NUM_THREADS", "0"))}


CASES: dict[str, Callable[[], Line]] = {
    "linear 128": lambda: linear(128),
    "linear 768": lambda: linear(768),
    "matrix 64": lambda: matrix(64),
    "tenseal": tenseal,
    "operations 15": lambda: operations(TABLES["operations 15"]),
    "operations 16": lambda: operations(TABLES["operations 16"]),
    "bootstrap": lambda: bootstrap(REFRESHING["bootstrap"]),
    "bootstrap 58": lambda: bootstrap(REFRESHING["bootstrap 58"]),
}


def logged(log: Path = LOG) -> dict[str, Line]:
    """Return what the log holds, by case; the last line of a case counts."""
    if not log.exists():
        return {}
    return {str(line["case"]): line for line in map(json.loads, log.read_text(encoding="utf-8").splitlines())}


def measure(names: list[str]) -> None:
    """Measure the named cases and add them to the log."""
    for name in names:
        began = time.monotonic()
        line: Line = {"case": name, "load": f"{os.getloadavg()[0]:.1f}", **CASES[name]()}
        line["whole"] = round(time.monotonic() - began, 1)
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


NAMES = {
    "linear 128": "encrypted linear layer 128x128",
    "linear 768": "encrypted linear layer 768x768",
    "matrix 64": "encrypted matrix product 64x64",
}


def rows() -> list[Row]:
    """Return the rows of what the log holds."""
    held = logged()
    found = [_bar_row(name, held[name]) for name in NAMES if name in held]
    if "linear 128" in held and "tenseal" in held:
        found.append(_tenseal_row(held["linear 128"], held["tenseal"]))
    found += [_table_row(name, held[name]) for name in TABLES if name in held]
    return found + [_bootstrap_row(REFRESHING[name], held[name]) for name in REFRESHING if name in held]


def _conditions(line: Line) -> str:
    return (
        f"{line['threads']} threads; load of the machine {line['load']} on {os.cpu_count()} cores, so that seconds of "
        f"the wall are too long; processor seconds {float(line['processor']):.2f}"
    )


def _bar_row(name: str, line: Line) -> Row:
    seconds = float(line["seconds"])
    reason = (
        f"error {float(line['error']):.1e}; {line['switches']} key switches, one digit; {float(line['GiB']):.1f} GiB; "
    )
    return Row(
        setting=f"{NAMES[name]}, N = 2^15, 6 levels: least seconds",
        bar=f"<= {NOTE[name]:.2f}",
        measured=round(seconds, 2),
        unit="s",
        holds=seconds <= NOTE[name],
        control=None,
        n=ROUNDS,
        seconds=float(line["whole"]),
        command=COMMAND,
        versions=versions() | OPENFHE,
        reason=reason + _conditions(line),
    )


def _tenseal_row(ours: Line, theirs: Line) -> Row:
    ratio = float(theirs["linear 128"]) / float(ours["seconds"])
    reason = f"TenSEAL 0.3.18, other minutes, error {float(theirs['linear 128 error']):.1e}; {_conditions(ours)}"
    return Row(
        setting="encrypted linear layer 128x128 against TenSEAL: its seconds over ours",
        bar=">= 1",
        measured=round(ratio, 1),
        unit="",
        holds=ratio >= 1,
        control=round(float(theirs["linear 128"]), 2),
        n=1,
        seconds=float(theirs["whole"]),
        command=COMMAND,
        versions=versions() | OPENFHE,
        reason=reason,
    )


def _table_row(name: str, line: Line) -> Row:
    p = TABLES[name]
    shown = "encode", "encrypt", "decrypt", "add", "plain product", "product", "rotation"
    parts = [f"{key} {1e3 * float(line[key]):.0f}" for key in shown]
    parts.append(f"hoisted rotation {1e3 * float(line['8 hoisted']) / 8:.0f}")
    parts += [f"degree {degree} {1e3 * float(line[f'degree {degree}']):.0f}" for degree in (7, 15, 27)]
    return Row(
        setting=f"operations on OpenFHE, N = 2^{p.ring}, {p.levels} levels of {p.scale} bits: milliseconds",
        bar="reported",
        measured=", ".join(parts),
        unit="ms",
        holds=True,
        control=None,
        n=3,
        seconds=float(line["whole"]),
        command=COMMAND,
        versions=versions() | OPENFHE,
        reason=f"least of 3 runs; {line['threads']} threads; load of the machine {line['load']}; "
        + ", ".join(f"degree {d}: error {float(line[f'degree {d} error']):.0e}" for d in (7, 15, 27)),
    )


def _bootstrap_row(parameters: Parameters, line: Line) -> Row:
    return Row(
        setting=f"bootstrap on OpenFHE, N = 2^16, scale 2^{parameters.scale}, all slots, budget (3, 3): "
        "seconds; levels left; largest error",
        bar="reported",
        measured=f"{float(line['seconds']):.1f} s, {line['levels']} levels, {float(line['error']):.1e}",
        unit="",
        holds=True,
        control=None,
        n=1,
        seconds=float(line["whole"]),
        command=COMMAND,
        versions=versions() | OPENFHE,
        reason=f"{line['threads']} threads; load of the machine {line['load']}; {float(line['GiB']):.1f} GiB",
    )
