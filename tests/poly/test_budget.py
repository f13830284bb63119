from itertools import product

import numpy as np
import pytest

from tests.poly.networks import network
from unmask.errors import BadInput
from unmask.poly.budget import Site, choose
from unmask.poly.fits import minimax
from unmask.poly.program import programs
from unmask.poly.sensitivity import sensitivities, sites

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


def test_sensitivity_predicts_the_error_of_other_polynomials():
    net = network(5)
    x = 0.5 * np.random.default_rng(0).standard_normal((40, net.tokens, net.inputs))
    matters = sensitivities(net, x)
    assert set(matters) == set(net.polynomials())
    # A disturbance of deviation 1e-5 at one site, drawn for each unit.
    rng, name = np.random.default_rng(1), "1.feed_forward.rise"
    noisy = net.blocks[1].feed_forward

    class Shaken:
        coefficients, interval = noisy.activation.coefficients, noisy.activation.interval

        def __call__(self, values):
            return noisy.activation(values) + 1e-5 * rng.standard_normal(values.shape)

    head, last = net.head, net.trace(x)
    moved = []
    for _ in range(30):
        activated = Shaken()(last[name])
        residual = last["1.attention.residual"] + noisy.fall(activated)
        moved.append(head(residual.mean(axis=-2)) - last["logits"])
    assert np.sqrt(np.mean(np.square(moved))) == pytest.approx(1e-5 * matters[name], rel=0.1)


def test_sites_of_a_network_are_wider_than_what_was_seen():
    net = network(5)
    x = 0.5 * np.random.default_rng(0).standard_normal((10, net.tokens, net.inputs))
    for site in sites(net, x, np.random.default_rng(0)):
        seen = net.trace(x)[site.name]
        assert site.interval[0] < seen.min()
        assert seen.max() < site.interval[1]
        assert site.sensitivity > 0
