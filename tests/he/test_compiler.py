"""Circuits compute what the plain network does, in the levels and operations that were planned."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.poly.networks import affine, network
from unmask.errors import BadInput
from unmask.he import compiler
from unmask.he.deviations import predicted
from unmask.he.levels import levelled, refreshed
from unmask.he.package import Package, load_package, save_package
from unmask.he.parameters import Parameters
from unmask.he.planner import plan, refreshing
from unmask.he.run import execute, ready
from unmask.he.simulator import SimulatedEvaluator, SimulatedKeyHolder
from unmask.he.trace import traced, write
from unmask.poly.network import Affine
from unmask.poly.noise import Noise
from unmask.poly.polynomial import Polynomial

SEVENTH = Polynomial(coefficients=(0.3, 0.4, 0.1, 0.05, 0.02, -0.03, 0.01, 0.02), interval=(-4.0, 5.0))
LINEAR = Polynomial(coefficients=(0.3, 0.4), interval=(-4.0, 5.0))
NEGATIVE = Polynomial(coefficients=(0.3, 0.4, -0.1), interval=(-4.0, 5.0))
PLAIN = {
    "blocks for every token": (10, {}),
    "two images": (11, {"tokens": 4}),
    "several ciphertexts of scores": (9, {"tokens": 8, "inputs": 5}),
    "blocks for two maps only": (8, {"tokens": 8, "layers": 1}),
    "a block only": (7, {"tokens": 8, "layers": 1, "hidden": 5}),
    "tokens short of a power of two": (10, {"tokens": 5, "causal": True}),
    "hidden units in four groups": (10, {"hidden": 29}),
    "heads and widths short of a power of two": (10, {"width": 6, "heads": 3, "tokens": 3}),
    "embedded by the client": (10, {"inputs": 0}),
    "first token": (10, {"pooling": "first"}),
    "last token": (10, {"pooling": "last", "tokens": 5, "causal": True}),
    "every token": (10, {"pooling": "all", "tokens": 3}),
    "many classes": (9, {"classes": 29, "tokens": 3}),
    "many classes, last token": (8, {"classes": 77, "pooling": "last", "tokens": 3, "layers": 1}),
}


def simulated(package: Package, x, noise=None):
    """Return logits and the evaluator after one run on the simulator."""
    chance = np.random.default_rng(5)
    holder = SimulatedKeyHolder(parameters=package.parameters, generator=chance, noise=noise)
    keys = package.program.rotations
    evaluator = SimulatedEvaluator(package.parameters, chance, noise=noise, rotations=keys)
    held = ready(package, evaluator)
    level = package.program.levels
    results = execute(held, [holder.encrypt(vector, level) for vector in package.pack(x)])
    return package.unpack([holder.decrypt(each) for each in results])[: len(x)], evaluator


def bare(net, ring, batch=None):
    """Compile for slots alone: small rings hold fewer levels than a test needs, and the simulator does not mind."""
    packing = compiler.packing_of(net, 2 ** (ring - 1), batch)
    circuit = compiler.lower(net, packing)
    program = levelled(circuit.program)
    parameters = Parameters(ring=16, levels=20, scale=45, digits=3)
    object.__setattr__(parameters, "ring", ring)
    object.__setattr__(parameters, "levels", program.levels)
    reading = compiler.reading_of(net, packing)
    return Package(program=program, packing=packing, parameters=parameters, reading=reading, tensors=circuit.tensors)


def inputs(package, net, seed=0):
    shape = (package.packing.batch, net.tokens, net.inputs)
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", PLAIN)
def test_a_circuit_without_noise_is_the_network(name):
    ring, sizes = PLAIN[name]
    net = network(**sizes)
    package = bare(net, ring)
    x = inputs(package, net)
    logits, _ = simulated(package, x, Noise.none())
    assert np.abs(logits - net.forward(x)).max() < 1e-9


@pytest.mark.parametrize(("scores", "units"), [(SEVENTH, LINEAR), (NEGATIVE, SEVENTH), (LINEAR, NEGATIVE)])
def test_polynomials_of_every_form(scores, units):
    net = network()
    block = net.blocks[0]
    attention, feed = replace(block.attention, activation=scores), replace(block.feed_forward, activation=units)
    net = replace(net, blocks=(replace(block, attention=attention, feed_forward=feed), net.blocks[1]))
    package = bare(net, 10)
    x = inputs(package, net)
    assert np.abs(simulated(package, x, Noise.none())[0] - net.forward(x)).max() < 1e-9


def test_images_in_one_ciphertext_do_not_meet():
    net = network()
    package = bare(net, 12, batch=8)
    x = inputs(package, net)
    alone = np.zeros_like(x)
    alone[3] = x[3]
    together, single = simulated(package, x, Noise.none())[0], simulated(package, alone, Noise.none())[0]
    assert np.abs(together[3] - single[3]).max() < 1e-12
    assert np.abs(together[2] - single[2]).max() > 1e-3


def test_the_plan_counts_what_the_simulator_does():
    net = network()
    package = bare(net, 10)
    planned = plan(package)
    _, evaluator = simulated(package, inputs(package, net))
    assert evaluator.counts == planned.counts + planned.set_up
    assert planned.counts.rotations and planned.counts.hoisted and planned.counts.products


def test_streamed_weights_cost_encodings_and_change_nothing():
    net = network()
    package = bare(net, 10)
    streamed = replace(package, streamed=frozenset(package.program.maps))
    x = inputs(package, net)
    held, flowing = simulated(package, x, Noise.none()), simulated(streamed, x, Noise.none())
    assert np.array_equal(held[0], flowing[0])
    assert flowing[1].counts == plan(streamed).counts + plan(streamed).set_up
    assert plan(streamed).memory < plan(package).memory


def test_a_package_survives_its_folder(tmp_path):
    net = network(layers=1)
    package, _ = compiler.compile_network(net, rings=(15,))
    save_package(package, tmp_path)
    read = load_package(tmp_path)
    assert (read.program, read.packing, read.reading) == (package.program, package.packing, package.reading)
    assert read.parameters == package.parameters
    assert all(np.array_equal(read.tensors[name], tensor) for name, tensor in package.tensors.items())
    assert not load_package(tmp_path, weights=False).tensors
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(BadInput, match="version None"):
        load_package(tmp_path)


def test_levels_are_used_to_the_last():
    package = bare(network(), 10)
    assert package.program.levels == compiler.lower(network(), package.packing).depth
    assert min(step.level - step.depth for step in package.program.steps) == 0


def test_parameters_are_chosen_and_noise_stays_small():
    net = network(layers=1)
    package, planned = compiler.compile_network(net, rings=(14, 15))
    assert package.parameters.ring == planned.parameters.ring == 15
    x = inputs(package, net)[:3]
    logits, _ = simulated(package, x)
    assert 0 < np.abs(logits - net.forward(x)).max() < 1e-5


def test_a_deep_network_is_refreshed_as_rarely_as_can_be():
    net = network(layers=4)
    packing = compiler.packing_of(net, 2**9)
    steps = compiler.lower(net, packing, scale=8.0)
    fit = frozenset(name for step in steps.program.steps for name in step.outputs if name.endswith(".x"))

    def placed(after):
        count = refreshed(steps.program, top=12, after=after, fit=fit, cost=lambda s, _: float(s.kind == "bootstrap"))
        assert count.levels <= 12
        return count

    # A block takes 10 levels, 6 of them its attention: with 9 it has to be cut in two, all but the first.
    assert levelled(steps.program).levels == 40
    assert [placed(after).bootstraps for after in (10, 9, 6)] == [3, 6, 6]
    program = placed(9)
    fresh = {name for step in program.steps if step.kind == "bootstrap" for name in step.outputs}
    assert all(step.level <= 9 for step in program.steps if fresh & set(step.inputs))
    parameters = bare(net, 10).parameters
    object.__setattr__(parameters, "levels", 26)
    object.__setattr__(parameters, "budget", (3, 3))
    reading = compiler.reading_of(net, packing)
    package = Package(program=program, packing=packing, parameters=parameters, reading=reading, tensors=steps.tensors)
    x = inputs(package, net)
    assert np.abs(simulated(package, x, Noise.none())[0] - net.forward(x)).max() < 1e-9
    with pytest.raises(BadInput, match="more levels than the 2"):
        refreshed(steps.program, top=12, after=2, fit=fit, cost=lambda *_: 0.0)


def test_rotations_that_a_bootstrap_has_keys_for_are_preferred():
    net = network(tokens=8, width=16)
    turns = refreshing().turns
    packing = compiler.packing_of(net, 2**12)
    usual, given = (compiler.lower(net, packing, turns=known).program for known in (frozenset(), turns))
    assert len(given.rotations - turns) < len(usual.rotations - turns)
    parameters = bare(net, 10).parameters
    object.__setattr__(parameters, "ring", 13)
    reading = compiler.reading_of(net, packing)
    tensors = compiler.lower(net, packing, turns=turns).tensors
    levels = levelled(given)
    object.__setattr__(parameters, "levels", levels.levels)
    package = Package(program=levels, packing=packing, parameters=parameters, reading=reading, tensors=tensors)
    x = inputs(package, net)
    assert np.abs(simulated(package, x, Noise.none())[0] - net.forward(x)).max() < 1e-9
    # Keys that a bootstrap brings are not counted again.
    object.__setattr__(parameters, "budget", (3, 3))
    assert plan(package).keys == len(given.rotations - parameters.turns) < len(given.rotations)


def test_what_does_not_fit_is_refused_with_what_would():
    with pytest.raises(BadInput, match="take 1 block: the nearest"):
        compiler.compile_network(network(layers=3), Parameters(ring=15, levels=12, scale=42, digits=4))
    with pytest.raises(BadInput, match="allow more"):
        compiler.compile_network(network(layers=1), rings=(15,), memory=10**8)
    with pytest.raises(BadInput, match="blocks have to be refreshed"):
        compiler.compile_network(network(layers=6))


def test_inputs_outside_the_range_stop_at_the_client():
    net = network()
    x = np.random.default_rng(0).uniform(-1, 1, (4, net.tokens, net.inputs))
    package = replace(bare(net, 10), reading=compiler.reading_of(net, bare(net, 10).packing, x))
    with pytest.raises(BadInput, match="leave the fitted range"):
        package.pack(5 * x)
    with pytest.raises(BadInput, match="are not of shape"):
        package.pack(x[..., 1:])


def test_attention_by_itself():
    rng = np.random.default_rng(0)
    part = replace(network().blocks[0].attention, output=affine(rng, 8, 8), activation=SEVENTH)
    package = compiler.attention_package(part, 4, Parameters(ring=15, levels=8, scale=50, digits=3))
    x = rng.standard_normal((package.packing.batch, 4, 8))
    *_, (_, wanted) = part.steps(x)
    assert np.abs(simulated(package, x, Noise.none())[0] - wanted).max() < 1e-9


def test_affine_maps_are_placed():
    matrix = compiler.lowering.placed(Affine(weight=np.ones((2, 3)), bias=np.ones(2)), 4, rows=np.array([3, 1]))
    assert matrix.weight.sum() == 6 and matrix.weight[0].sum() == 0 and matrix.bias.tolist() == [0, 1, 0, 1]


def test_a_trace_names_the_noise_of_each_step(tmp_path):
    net = network(layers=1)
    package = bare(net, 10)
    chance = np.random.default_rng(0)
    holder = SimulatedKeyHolder(parameters=package.parameters, generator=chance)
    evaluator = SimulatedEvaluator(package.parameters, chance)
    points = traced(ready(package, evaluator), holder, package.pack(inputs(package, net)))
    assert [p.name for p in points] == [name for step in package.program.steps for name in step.outputs]
    assert points[-1].level == 0 and all(0 < p.deviation <= p.error < 1e-6 for p in points)
    written = json.loads(write(points, package, tmp_path / "trace.json", backend="simulator").read_text())
    assert written["points"][-1]["error"] == points[-1].error


@pytest.mark.parametrize("degree", [SEVENTH, NEGATIVE])
def test_noise_stays_below_the_predicted_bound(degree):
    net = network(layers=2)
    blocks = tuple(replace(b, attention=replace(b.attention, activation=degree)) for b in net.blocks)
    net = replace(net, blocks=blocks)
    package = bare(net, 10)
    x = inputs(package, net)
    bound = 6 * predicted(package, package.pack(x))[: len(x)]
    gap = np.abs(simulated(package, x)[0] - net.forward(x))
    assert (gap < bound).all()
    assert gap.max() > bound.max() / 300
