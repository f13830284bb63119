from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tests.poly.networks import network
from unmask.errors import BadInput
from unmask.poly.budget import Site, choose
from unmask.poly.fits import minimax
from unmask.poly.program import programs
from unmask.poly.sensitivity import gradients, sites

SITES = [
    Site(name="a", function="gelu", interval=(-4.0, 4.0), sensitivity=1.0),
    Site(name="b", function="gelu", interval=(-8.0, 8.0), sensitivity=0.3),
    Site(name="c", function="tanh", interval=(-2.0, 3.0), sensitivity=2.0),
]
DEGREES = (2, 3, 7, 15)
FITS = [[minimax(site.function, site.interval, degree) for degree in DEGREES] for site in SITES]


@pytest.mark.parametrize("budget", [4, 7, 10, 40])
def test_the_choice_is_the_best_of_all(budget):
    best = np.inf
    for fits in product(*FITS):
        if sum(programs(fit)[0].depth for fit in fits) <= budget:
            error = np.sqrt(sum((s.sensitivity * fit.error) ** 2 for s, fit in zip(SITES, fits, strict=True)))
            best = min(best, error)
    found = choose(SITES, budget, degrees=DEGREES)
    assert found.error == pytest.approx(best, rel=1e-12)
    assert found.depth <= budget


def test_a_budget_that_cannot_be_met_names_the_least():
    with pytest.raises(BadInput, match="below 3, the least for 3 sites"):
        choose(SITES, 2)


def test_samples_move_levels_to_where_the_inputs_are():
    rng = np.random.default_rng(0)
    near = Site(name="n", function="gelu", interval=(-8.0, 8.0), sensitivity=1.0, samples=rng.uniform(-0.5, 0.5, 500))
    far = Site(name="f", function="gelu", interval=(-8.0, 8.0), sensitivity=1.0, samples=rng.uniform(-8, 8, 500))
    found = choose([near, far], 5)
    assert found.polynomials["f"].degree > found.polynomials["n"].degree


def test_high_degrees_are_tried_by_wide_poles_alone():
    wide = Site(name="w", function="inverse", interval=(0.1, 1000.0), sensitivity=1.0)
    narrow = Site(name="n", function="inverse", interval=(1.0, 2.0), sensitivity=1.0)
    smooth = Site(name="s", function="gelu", interval=(-20.0, 20.0), sensitivity=1.0)
    for poles, best in (((), 15), ((127, 255), 255)):
        found = choose([wide, narrow, smooth], 40, degrees=(2, 7, 15), poles=poles)
        assert [found.polynomials[name].degree for name in "wns"] == [best, 15, 15]
        assert found.depth == {15: 12, 255: 16}[best]


def gelu_network(seed):
    # Degree 31 on a narrow interval: as good as exact.
    exact = minimax("gelu", (-4.0, 4.0), 31)
    net = network(seed)
    blocks = tuple(
        replace(
            block,
            attention=replace(block.attention, activation=exact),
            feed_forward=replace(block.feed_forward, activation=exact),
        )
        for block in net.blocks
    )
    return replace(net, blocks=blocks)


def test_the_predicted_error_of_a_choice_is_what_the_network_then_does():
    net = gelu_network(5)
    rng = np.random.default_rng(0)
    held, fresh = (0.5 * rng.standard_normal((count, net.tokens, net.inputs)) for count in (80, 200))
    found = choose(sites(net, held, margin=1.5), 8)
    blocks = []
    for index, block in enumerate(net.blocks):
        attention = replace(block.attention, activation=found.polynomials[f"{index}.attention.scores"])
        feed = replace(block.feed_forward, activation=found.polynomials[f"{index}.feed_forward.rise"])
        blocks.append(replace(block, attention=attention, feed_forward=feed))
    measured = np.sqrt(np.mean((replace(net, blocks=tuple(blocks)).forward(fresh) - net.forward(fresh)) ** 2))
    assert 0.5 < measured / found.error < 2


def test_gradients_are_those_of_finite_differences():
    net = gelu_network(6)
    x = 0.5 * np.random.default_rng(0).standard_normal((3, net.tokens, net.inputs))
    name = "1.feed_forward.rise"
    trace, feed = net.trace(x), net.blocks[1].feed_forward
    found = gradients(net, x)
    assert set(found) == set(net.polynomials())
    assert found[name].shape == (3, *trace[name].shape)
    activated = feed.activation(trace[name])
    for token, unit in ((0, 0), (3, 7)):
        moved = activated.copy()
        moved[:, token, unit] += 1e-4
        logits = net.head((trace["1.attention.residual"] + feed.fall(moved)).mean(axis=-2))
        assert np.allclose((logits - trace["logits"]).T / 1e-4, found[name][:, :, token, unit], atol=1e-8)


def test_sites_of_a_network_are_wider_than_what_was_seen():
    net = gelu_network(5)
    x = 0.5 * np.random.default_rng(0).standard_normal((10, net.tokens, net.inputs))
    for site in sites(net, x):
        seen = net.trace(x)[site.name]
        assert site.interval[0] < seen.min()
        assert seen.max() < site.interval[1]
        assert site.sensitivity > 0
    with pytest.raises(BadInput, match="gradients"):
        replace(site, samples=None)
