"""The rows of the simulator: predicted error against measured, in clear and on the encrypted backends."""

import gzip
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import unmask.poly
from benchmarks.polynomial_fits import row
from benchmarks.rows import Row
from unmask.errors import UnmaskError
from unmask.he import library
from unmask.he.compiler import compile_network
from unmask.he.parameters import Parameters
from unmask.he.run import execute, ready
from unmask.poly.budget import Choice, choose
from unmask.poly.fits import minimax
from unmask.poly.guard import guard, measure, widened
from unmask.poly.network import Affine, Attention, Block, FeedForward, Network
from unmask.poly.placement import Chain, place
from unmask.poly.polynomial import Array, Polynomial
from unmask.poly.sensitivity import sites
from unmask.poly.simulator import Runner, Simulation, simulate
from unmask.poly.storage import load_network

FASHION = Path(unmask.poly.__file__).parent / "data" / "fashion-mnist"
INPUTS, TWICE, AGREE, ENCRYPTIONS = 2000, 2.0, 0.995, 8
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
        predicted = float(np.sqrt(np.mean(drift**2 + variance)))
        measured, sizes = float(np.sqrt(np.mean(errors**2))), np.sort(np.abs(errors), axis=None)
        ratio, control = measured / predicted, f"predicted rms {predicted:.2e}"
        if chain.fixed:
            together = float(np.corrcoef(drift.ravel(), errors.ravel())[0, 1])
            control += f"; correlation of each logit's error with its predicted drift {together:.3f}"
        found.append(
            row(
                f"One-layer network (8 tokens, width 16) as compiled, on the {name} backend, N = 2^{parameters.ring}, "
                f"{parameters.levels} levels, scale {parameters.scale}: measured over predicted error of a logit",
                "0.5 to 2",
                f"{ratio:.3f}: rms {measured:.2e}, median {sizes[len(sizes) // 2]:.1e}, 99 % below "
                f"{sizes[int(0.99 * len(sizes))]:.1e}, largest {sizes[-1]:.1e}",
                1 / TWICE <= ratio <= TWICE,
                errors.size,
                began,
                control=control,
            )
        )
        print(found[-1].setting, found[-1].measured, control, flush=True)
    return found


def _encrypted(name: str, network: Network) -> tuple[Array, Array, Parameters]:
    package, _ = compile_network(network, rings=(15,))
    x, got = drawn(network, package.packing.batch * ENCRYPTIONS, 8), []
    with tempfile.TemporaryDirectory() as folder:
        rotations = sorted(package.program.rotations)
        with library.both(Path(folder) / "keys", name, package.parameters, rotations) as (holder, evaluator):
            held = ready(package, evaluator)
            for some in np.split(x, ENCRYPTIONS):
                out = execute(held, [holder.encrypt(values) for values in package.pack(some)])
                got.append(package.unpack([holder.decrypt(each) for each in out])[: len(some)])
    return x, np.concatenate(got) - network.forward(x), package.parameters


def substituted(network: Network, choice: Choice) -> Network:
    """Return the network with the chosen polynomials in place."""
    blocks = []
    for index, block in enumerate(network.blocks):
        attention = replace(block.attention, activation=choice.polynomials[f"{index}.attention.scores"])
        feed = replace(block.feed_forward, activation=choice.polynomials[f"{index}.feed_forward.rise"])
        blocks.append(Block(attention=attention, feed_forward=feed))
    return replace(network, blocks=tuple(blocks))


def made(
    seed: int,
    *,
    blocks: int,
    activation: Polynomial,
    tokens: int = 16,
    width: int = 64,
    heads: int = 4,
    hidden: int = 128,
    inputs: int = 49,
) -> Network:
    """Return a random network of the size of the Fashion-MNIST one."""
    rng = np.random.default_rng(seed)

    def affine(out: int, into: int, gain: float = 1.0) -> Affine:
        weight = gain * rng.standard_normal((out, into)) / np.sqrt(into)
        return Affine(weight=weight, bias=0.1 * rng.standard_normal(out))

    def block() -> Block:
        attention = Attention(
            query=affine(width, width),
            key=affine(width, width),
            value=affine(width, width),
            output=affine(width, width, 0.5),
            heads=heads,
            scale=np.full(heads, (width / heads) ** -0.5),
            shift=0.1 * rng.standard_normal(heads),
            activation=activation,
            mask=np.full((tokens, tokens), 1 / tokens),
        )
        feed = FeedForward(rise=affine(hidden, width), fall=affine(width, hidden, 0.5), activation=activation)
        return Block(attention=attention, feed_forward=feed)

    return Network(
        embedding=affine(width, inputs) if inputs else None,
        position=0.1 * rng.standard_normal((tokens, width)),
        blocks=tuple(block() for _ in range(blocks)),
        head=affine(10, width),
    )


def shrunk(network: Network) -> Network:
    """Return a network whose residual branches are scaled down until it stays in its intervals, as training does."""
    x = drawn(network, 64, 99)
    while any(
        polynomial.outside(1.5 * network.trace(x)[name]) > 0 for name, polynomial in network.polynomials().items()
    ):
        blocks = []
        for block in network.blocks:
            rise, query = block.feed_forward.rise, block.attention.query
            rise = Affine(weight=0.9 * rise.weight, bias=0.9 * rise.bias)
            query = Affine(weight=0.9 * query.weight, bias=0.9 * query.bias)
            blocks.append(
                Block(
                    attention=replace(block.attention, query=query), feed_forward=replace(block.feed_forward, rise=rise)
                )
            )
        network = replace(network, blocks=tuple(blocks))
    return network


def drawn(network: Network, count: int, seed: int) -> Array:
    """Return random inputs."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, network.tokens, network.inputs))


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
