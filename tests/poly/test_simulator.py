from dataclasses import replace

import numpy as np
import pytest

from tests.poly.networks import network
from tests.references.polynomials import Plan
from unmask.errors import BadInput
from unmask.he import compiler, levels
from unmask.poly.guard import guard, widened
from unmask.poly.machine import Machine
from unmask.poly.noise import Noise
from unmask.poly.placement import Chain, place, shortest, stages
from unmask.poly.polynomial import Polynomial
from unmask.poly.runner import Runner
from unmask.poly.simulator import simulate

SHAPES = [{}, {"causal": True, "pooling": "all"}, {"pooling": "last", "inputs": 0}, {"pooling": "first", "layers": 1}]


def inputs(net, count, seed=0):
    return 0.5 * np.random.default_rng(seed).standard_normal((count, net.tokens, net.inputs))


@pytest.mark.parametrize("shape", SHAPES)
def test_without_noise_the_circuit_is_the_network(shape):
    net, chain = network(1, **shape), Chain(levels=11, refreshed=9)
    x = inputs(net, 5)
    runner = Runner(network=net, chain=chain, placement=place(net, chain), measured=guard(net, x))
    silent = Machine(noise=Noise.none(), drifts=(0.0,) * 12, rng=np.random.default_rng(0))
    assert np.allclose(runner.run(x, silent).value, net.forward(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "chain",
    [
        Chain(levels=24, scale=45),
        Chain(levels=24, scale=45, fixed=False),
        Chain(ring=15, levels=10, scale=52, refreshed=9),
    ],
)
def test_the_predicted_error_is_the_measured_one(shape, chain):
    net = network(2, **shape)
    found = simulate(net, inputs(net, 150), chain, np.random.default_rng(3), probes=24)
    assert found.measured > 0
    assert found.predicted / 1.3 < found.measured < 1.3 * found.predicted
    assert found.agreement >= 0.995
    assert found.placement.left >= 0


def test_the_tape_carries_a_bias_as_finite_differences_do():
    net, chain = network(4), Chain(levels=24)
    x = inputs(net, 3)
    runner = Runner(network=net, chain=chain, placement=place(net, chain), measured=guard(net, x))
    none = Noise.none()
    small = tuple(1e-7 * np.random.default_rng(1).standard_normal(25))
    machine = Machine(noise=none, drifts=small)
    logits = runner.run(x, machine)
    bias, variance = machine.tape.back(logits.node, np.eye(3)[[1, 1, 1]])
    moved = runner.run(x, Machine(noise=none, drifts=small, rng=np.random.default_rng(0))).value - net.forward(x)
    assert np.allclose(bias, moved[:, 1], rtol=1e-5)
    assert np.all(variance == 0)


@pytest.mark.parametrize(("begin", "refreshed"), [(7, 7), (5, 6), (4, 3), (3, 4), (6, 3), (12, 5)])
def test_the_shortest_path_is_that_of_trying_everything(begin, refreshed):
    parts = stages(network(0, layers=1))[:5]  # one attention: every subset of its fifteen places
    chain = [(each.levels, each.forks, each.value, each.joins, each.early, each.mains, each.skip) for each in parts]
    slow = Plan(levels=begin, refreshed=refreshed).fewest(chain)
    fast = shortest(parts, begin, refreshed, {"main": 1, "value": 1, "skip": 1})
    assert (fast.count if fast else None) == slow


def test_depth_is_counted_by_hand():
    # Project, copy, product, square, mix, output; rise, cubic (2), fall. Embedding and head are folded.
    assert place(network(0, layers=1), Chain(levels=60)).depth == 6 + 4
    assert place(network(0, layers=3), Chain(levels=60)).depth == 3 * (6 + 4)


def test_depth_is_that_of_the_compiled_circuit():
    for shape in ({"layers": 1, "inputs": 0}, {"layers": 1}, {"layers": 2}):
        net = network(0, **shape)
        circuit = compiler.lower(net, compiler.packing_of(net, 2**11))
        assert levels.levelled(circuit.program).levels == place(net, Chain(levels=60)).depth


def test_too_few_levels_name_the_least_that_would_do():
    with pytest.raises(BadInput, match="below 20, the least"):
        place(network(0), Chain(levels=19))
    assert place(network(0), Chain(levels=20)).count == 0
    with pytest.raises(BadInput, match="below 2, what one stage takes"):
        place(network(0), Chain(levels=5, refreshed=1))


def test_a_network_out_of_range_is_refused_with_layer_and_value():
    net = network(0)
    x = inputs(net, 20)
    used = {each.name: each for each in guard(net, x).ranges}
    worst = used["1.feed_forward.rise"]
    narrow = Polynomial(coefficients=(0.1, 0.6), interval=(worst.low + 1e-3, worst.high + 1))
    last = net.blocks[1]
    changed = replace(
        net, blocks=(net.blocks[0], replace(last, feed_forward=replace(last.feed_forward, activation=narrow)))
    )
    with pytest.raises(BadInput, match=r"1\.feed_forward\.rise") as caught:
        guard(changed, x)
    assert caught.value.value == pytest.approx(worst.low, abs=1e-6)
    with pytest.raises(BadInput, match="leaves 1%"):
        simulate(net, x, Chain(), np.random.default_rng(0), share=0.01)


def test_widening_changes_intervals_and_nothing_else():
    net = network(0)
    x = inputs(net, 10)
    wide = widened(net, 20 * x)
    assert np.allclose(wide.forward(x), net.forward(x), rtol=0, atol=1e-12)
    with pytest.raises(BadInput):
        guard(net, 20 * x)
    guard(wide, 20 * x)


def test_nan_is_refused_and_an_explosion_names_its_layer():
    net = network(0)
    x = inputs(net, 2)
    x[0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        guard(net, x)
    with np.errstate(all="ignore"), pytest.raises(BadInput, match="not finite"):
        guard(net, np.full_like(x, 1e200))


def test_a_seed_gives_the_same_noise_and_another_seed_another():
    net = network(0)
    x = inputs(net, 4)
    a, b, c = (simulate(net, x, Chain(), np.random.default_rng(seed)).logits for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
