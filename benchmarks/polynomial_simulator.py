"""The rows of the simulator: predicted error against measured, in clear and on the encrypted backends."""

import gzip
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import unmask.poly
from benchmarks.polynomial_fits import row
from benchmarks.polynomial_networks import drawn, made, shrunk
from benchmarks.rows import Row
from unmask.errors import UnmaskError
from unmask.he import library
from unmask.he.compiler import compile_network
from unmask.he.parameters import Parameters
from unmask.he.run import execute, ready
from unmask.poly.budget import Choice, choose
from unmask.poly.fits import minimax
from unmask.poly.guard import guard, measure, widened
from unmask.poly.network import Block, Network
from unmask.poly.placement import Chain, place
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.runner import Runner
from unmask.poly.sensitivity import sites
from unmask.poly.simulator import Simulation, simulate
from unmask.poly.storage import load_network

FASHION = Path(unmask.poly.__file__).parent / "data" / "fashion-mnist"
INPUTS, TWICE, AGREE = 2000, 2.0, 0.995
KEYS, ENCRYPTIONS = 4, 3
CHAINS = {
    "fixed scale 45, 24 levels, no bootstrap": Chain(ring=16, scale=45, levels=24),
    "flexible scale 45, 24 levels, no bootstrap": Chain(ring=16, scale=45, levels=24, fixed=False),
    "fixed scale 50, 8 levels after each bootstrap": Chain(ring=16, scale=50, levels=8, refreshed=8),
}


def rows() -> list[Row]:
    """The trained network where it is there, and random ones: error, agreement, bootstraps."""
    found, square = [], Polynomial(coefficients=(0.5, 0.5, 0.2), interval=(-4.0, 4.0))
    seventh = minimax("gelu", (-6.0, 6.0), 7)
    nets: dict[str, tuple[Network, Array]] = {}
    if FASHION.is_dir():
        network, x = load_network(FASHION), fashion("t10k")
        found.append(_guarded(network, x))
        # Trained with its polynomials in place, so that they may be written on what training images reach.
        nets["Fashion-MNIST transformer as bundled, intervals by 2000 training images"] = (
            widened(network, fashion("train")),
            x,
        )
    random = shrunk(made(0, blocks=2, activation=square))
    nets["random network of 2 layers, degree 2"] = random, drawn(random, INPUTS, 1)
    deep = shrunk(made(1, blocks=6, activation=seventh))
    nets["random network of 6 layers, degree 7"] = deep, drawn(deep, INPUTS, 2)
    for name, (network, x) in nets.items():
        for words, chain in CHAINS.items():
            began = time.perf_counter()
            try:
                result = simulate(network, x, chain, np.random.default_rng(7), probes=64)
            except UnmaskError as refused:
                print(name, words, refused, flush=True)
                continue
            found.append(_simulated(f"{name}, N = 2^16, {words}", result, began))
            print(found[-1].setting, found[-1].measured, flush=True)
    return found


def _guarded(network: Network, x: Array) -> Row:
    began = time.perf_counter()
    worst = max(measure(network, x).ranges, key=lambda each: each.used)
    low, high = worst.interval
    return row(
        "Range guard on the bundled Fashion-MNIST transformer, its own intervals, test images: farthest value, as a "
        "share of the half-interval",
        "<= 1",
        round(worst.used, 4),
        worst.used <= 1,
        len(x),
        began,
        control=f"{worst.name}: {worst.low:.3g} to {worst.high:.3g} of [{low:.3g}, {high:.3g}]",
        reason="" if worst.used <= 1 else "the intervals were taken from other images with too little margin",
    )


def _simulated(setting: str, result: Simulation, began: float) -> Row:
    ratio = result.measured / result.predicted
    near, agree = 1 / TWICE <= ratio <= TWICE, result.agreement >= AGREE
    return row(
        f"Simulator, {setting}: measured over predicted error of a logit, and same class as exact arithmetic",
        "0.5 to 2, and >= 99.5 %",
        f"{ratio:.3f}, {result.agreement:.2%}; rms {result.measured:.1e}, largest {result.largest:.1e}",
        near and agree,
        len(result.logits),
        began,
        control=f"depth {result.placement.depth}, {result.placement.count} bootstraps, drift {result.drift:.1e}",
    )


def budget_rows() -> list[Row]:
    """Joint choice of degrees: predicted output error against what the network then does, and against one degree."""
    exact = shrunk(made(3, blocks=2, activation=minimax("gelu", (-8.0, 8.0), 63)))
    held, fresh = drawn(exact, 200, 4), drawn(exact, 400, 5)
    places = sites(exact, held, margin=1.5)
    wanted, found = exact.forward(fresh), []
    for budget in (6, 8, 10, 12):
        began = time.perf_counter()
        picked = choose(places, budget)
        measured = float(np.sqrt(np.mean((substituted(exact, picked).forward(fresh) - wanted) ** 2)))
        uniform = [choose(places, 1000, degrees=(degree,)) for degree in (2, 3, 7, 15, 31)]
        uniform = [each for each in uniform if each.depth <= budget]
        ratio = measured / picked.error
        degrees = ", ".join(str(polynomial.degree) for polynomial in picked.polynomials.values())
        best = min((each.error for each in uniform), default=float("inf"))
        found.append(
            row(
                f"Joint choice of degrees, 2 layers, 4 sites of GELU, {budget} levels: measured over predicted "
                "output error",
                "0.5 to 2",
                f"{ratio:.3f}: rms {measured:.1e}; degrees {degrees}",
                1 / TWICE <= ratio <= TWICE and picked.depth <= budget,
                len(fresh),
                began,
                control=f"best single degree within the budget: predicted {best:.1e} against {picked.error:.1e}",
            )
        )
    return found


def encrypted_rows() -> list[Row]:
    """The compiled circuit on the simulated backend and, where it is installed, on OpenFHE, against our prediction."""
    network = shrunk(
        made(
            6,
            blocks=1,
            activation=Polynomial(coefficients=(0.5, 0.5, 0.2), interval=(-4.0, 4.0)),
            tokens=8,
            width=16,
            heads=2,
            hidden=32,
            inputs=0,
        )
    )
    network = replace(network, embedding=None)
    found = []
    for name in ("simulator", "openfhe"):
        began = time.perf_counter()
        try:
            x, errors, parameters = _encrypted(name, network)
        except (UnmaskError, OSError) as missing:
            print(name, "is not there:", missing, flush=True)
            continue
        chain = Chain(ring=parameters.ring, scale=parameters.scale, levels=parameters.levels, fixed=name == "openfhe")
        runner = Runner(network=network, chain=chain, placement=place(network, chain), measured=guard(network, x))
        drift, variance = runner.forecast(x)
        where = f"{KEYS} keys on the {name} backend, N = 2^{chain.ring}, {chain.levels} levels, scale {chain.scale}"
        every = np.ones(errors.shape, dtype=bool)
        found.append(_forecast(where, every, errors, drift, variance, began))
        if chain.fixed:
            # The first logit of the first input of each ciphertext lies in slot 0.
            others = every.copy()
            others[:: len(errors) // (KEYS * ENCRYPTIONS), 0] = False
            found.append(_forecast(f"{where}, slot 0 left out", others, errors, drift, variance, began))
    return found


def _forecast(where: str, used: NDArray[np.bool_], errors: Array, drift: Array, variance: Array, began: float) -> Row:
    predicted = float(np.sqrt(np.mean(drift[used] ** 2 + variance[used])))
    measured, sizes = float(np.sqrt(np.mean(errors[used] ** 2))), np.sort(np.abs(errors[used]))
    ratio, control = measured / predicted, f"predicted rms {predicted:.2e}"
    # By key: each has a secret of its own.
    keys = [
        float(np.sqrt(np.mean(e[u] ** 2) / np.mean(d[u] ** 2 + v[u])))
        for e, u, d, v in zip(*(np.split(each, KEYS) for each in (errors, used, drift, variance)), strict=True)
    ]
    if drift.any():
        together = float(np.corrcoef(drift[used], errors[used])[0, 1])
        control += f"; correlation of each logit's error with its predicted drift {together:.3f}"
    holds = all(1 / TWICE <= each <= TWICE for each in keys)
    return row(
        f"One-layer network (8 tokens, width 16) as compiled, {where}: measured over predicted error of a logit",
        "0.5 to 2 with every key",
        f"{ratio:.3f}, by key {min(keys):.3f} to {max(keys):.3f}: rms {measured:.2e}, "
        f"median {sizes[len(sizes) // 2]:.1e}, 99 % below {sizes[int(0.99 * len(sizes))]:.1e}, largest {sizes[-1]:.1e}",
        holds,
        len(sizes),
        began,
        control=control,
        reason="" if holds else "slot 0 has an error of its own, of one sign, that depends on the key",
    )


def _encrypted(name: str, network: Network) -> tuple[Array, Array, Parameters]:
    package, _ = compile_network(network, rings=(15,))
    rotations = sorted(package.program.rotations)
    x, got = drawn(network, package.packing.batch * KEYS * ENCRYPTIONS, 8), []
    for block in np.split(x, KEYS):
        with (
            tempfile.TemporaryDirectory() as folder,
            library.both(Path(folder) / "keys", name, package.parameters, rotations) as (holder, evaluator),
        ):
            held = ready(package, evaluator)
            for some in np.split(block, ENCRYPTIONS):
                out = execute(held, [holder.encrypt(values) for values in package.pack(some)])
                got.append(package.unpack([holder.decrypt(each) for each in out])[: len(some)])
            print(name, "one key done", flush=True)
    return x, np.concatenate(got) - network.forward(x), package.parameters


def substituted(network: Network, choice: Choice) -> Network:
    """Return the network with the chosen polynomials in place."""
    blocks = []
    for index, block in enumerate(network.blocks):
        attention = replace(block.attention, activation=choice.polynomials[f"{index}.attention.scores"])
        feed = replace(block.feed_forward, activation=choice.polynomials[f"{index}.feed_forward.rise"])
        blocks.append(Block(attention=attention, feed_forward=feed))
    return replace(network, blocks=tuple(blocks))


def fashion(part: str) -> Array:
    """Return patches of 2000 images of a part, `train` or `t10k`, (2000, 16, 49), pixels in [0, 1].

    Raises:
        SystemExit: if the images are not installed.
    """
    for folder in ("/usr/share/datasets/fashion-mnist", "/tmp/fm/usr/share/datasets/fashion-mnist"):
        path = Path(folder) / f"{part}-images-idx3-ubyte.gz"
        if path.is_file():
            raw = np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=16)
            pixels = raw.reshape(-1, 28, 28)[:INPUTS] / 255.0
            cut = pixels.reshape(-1, 4, 7, 4, 7).transpose(0, 1, 3, 2, 4)
            return cut.reshape(len(pixels), 16, 49)
    raise SystemExit("Fashion-MNIST is not here: apt-get download dataset-fashion-mnist, dpkg -x it to /tmp/fm")
