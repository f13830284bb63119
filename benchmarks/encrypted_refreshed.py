"""A network too deep for one modulus, on OpenFHE with bootstraps: `python -m benchmarks.encrypted_refreshed [measure]`.

Four layers on Fashion-MNIST, of `polynomial_recipes fashion-deep`: 36 levels, of which a ring of 2^16 holds 22. Two
held-out images in one ciphertext, from pixels to logits; every value in between is decrypted and compared with its
twin without noise. It takes 15 GB and minutes, so that a run is one line of the log.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.polynomial_data import WORK, fashion
from benchmarks.rows import RESULTS, Row, save, versions
from unmask.he import trace
from unmask.he.compiler import compile_network
from unmask.he.library import both
from unmask.he.openfhe import OpenFheEvaluator
from unmask.he.package import Package
from unmask.he.packing import Array
from unmask.he.planner import Plan, plan, refreshing
from unmask.he.run import ready
from unmask.poly.network import Network
from unmask.poly.storage import load_network

LOG = RESULTS / "encrypted-refreshed.jsonl"
COMMAND = "python -m benchmarks.encrypted_refreshed measure"
PARAMETERS = refreshing(scale=52, first=57, digits=3)
"""Six levels after a bootstrap, as 57 bits and 4 digits leave, with keys a fifth smaller and 32 times the noise."""
MEMORY = 16 * 10**9
CALIBRATING = 256


def patches(pixels: Array) -> Array:
    """Return (count, 16, 49) of images in [0, 1]."""
    return pixels.reshape(-1, 4, 7, 4, 7).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 49)


def built(images: int = 2) -> tuple[Network, Package, Plan, Array, list[int]]:
    """Return the network, its package, what was planned, held-out images and their classes."""
    network = load_network(WORK / "fashion-deep" / "network")
    data, test = fashion()
    seen = patches(data.train.inputs[:CALIBRATING].numpy().astype(np.float64))
    x = patches(test.inputs[:images].numpy().astype(np.float64))
    package, planned = compile_network(network, PARAMETERS, calibration=seen, memory=MEMORY)
    return network, package, planned, x, [int(label) for label in test.targets[:images]]


def measure() -> None:
    """Append one run to the log."""
    network, package, planned, x, labels = built()
    print("\n".join(f"{key}: {value}" for key, value in planned.lines()), flush=True)
    vectors, clear = package.pack(x), network.forward(x)
    exact = package.unpack([trace.clear_values(package, vectors)[name] for name in package.program.outputs])
    print(f"circuit without noise against the network: {np.abs(exact[: len(x)] - clear).max():.1e}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with both(Path(folder) / "keys", "openfhe", package.parameters, sorted(package.program.rotations)) as sides:
            client, server = sides
            assert isinstance(server, OpenFheEvaluator)
            server.wait()
            made = time.monotonic() - began
            held = ready(package, server)
            server.wait()
            encoded = time.monotonic() - began - made
            print(f"keys {made:.0f} s, weights {encoded:.0f} s, {server.usage()}", flush=True)
            before, counted = server.usage(), server.counts + type(server.counts)()
            decrypted: dict[str, Array] = {}

            def say(point: trace.Point, found: Array) -> None:
                print({k: v for k, v in asdict(point).items() if k != "kind"}, flush=True)
                if point.name in package.program.outputs:
                    decrypted[point.name] = found

            points = trace.traced(held, client, vectors, say=say)
            usage = server.usage()
            logits = package.unpack([decrypted[name] for name in package.program.outputs])[: len(x)]
            line: dict[str, Any] = {"case": "fashion-deep", "parameters": package.parameters.to_json()}
            line |= {"images": len(x), "labels": labels, "keys": round(made, 1), "weights": round(encoded, 1)}
            line |= {"seconds": round(sum(point.seconds for point in points), 1), "clear": clear.tolist(), "logits": logits.tolist()}
            line |= {"processor": round(usage["processor"] - before["processor"], 1), "peak": usage["peak"]}
            line |= {"counted": server.counts - counted == planned.counts, "predicted": planned.seconds}
            line |= {"predicted memory": planned.memory, "bootstraps": planned.counts.bootstraps}
            line |= {"load": os.getloadavg()[0], "threads": os.environ.get("OMP_NUM_THREADS", "")}
            line |= {"points": [asdict(point) for point in points]}
            LOG.open("a", encoding="utf-8").write(json.dumps(line) + "\n")


if __name__ == "__main__":
    measure()
