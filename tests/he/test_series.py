"""Encrypted Chebyshev series against Clenshaw, with the fewest levels."""

import math

import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.he import series
from unmask.he.parameters import Parameters
from unmask.he.simulator import SimulatedEvaluator, SimulatedKeyHolder
from unmask.poly.noise import Noise
from unmask.poly.polynomial import Polynomial

PARAMETERS = Parameters(ring=15, levels=11, scale=45)


def evaluated(polynomial, x):
    chance = np.random.default_rng(0)
    client = SimulatedKeyHolder(parameters=PARAMETERS, generator=chance, noise=Noise.none())
    server = SimulatedEvaluator(PARAMETERS, chance, noise=Noise.none())
    result = server.polynomial(server.load(client.encrypt(x)), polynomial)
    return client.decrypt(server.serialise(result))[: len(x)], PARAMETERS.levels - result.level, server.counts


def series_of(degree, interval=(-1.0, 1.0), kept=lambda k: True):
    values = np.random.default_rng(degree).standard_normal(degree + 1)
    return Polynomial(coefficients=tuple(v if kept(k) else 0.0 for k, v in enumerate(values)), interval=interval)


@pytest.mark.parametrize("interval", [(-1.0, 1.0), (-3.0, 5.0)])
@pytest.mark.parametrize("degree", [*range(1, 34), 59, 63, 64])
def test_values_levels_and_products_are_as_planned(degree, interval):
    polynomial = series_of(degree, interval)
    x = np.linspace(*interval, 101)
    values, used, counts = evaluated(polynomial, x)
    np.testing.assert_allclose(values, polynomial(x), atol=1e-11)
    mapped = interval != (-1.0, 1.0) and degree > 1
    assert used == series.levels(polynomial) == math.ceil(math.log2(degree + 1)) + mapped
    assert counts.products == series.products(polynomial)


@pytest.mark.parametrize("degree", [3, 7, 9, 15, 27])
@pytest.mark.parametrize("parity", [0, 1])
def test_a_symmetric_series_needs_no_more_products(degree, parity):
    whole = series_of(degree)
    half = series_of(degree - (degree - parity) % 2, kept=lambda k: k % 2 == parity)
    x = np.linspace(-1, 1, 51)
    values, _, counts = evaluated(half, x)
    np.testing.assert_allclose(values, half(x), atol=1e-11)
    assert counts.products <= series.products(whole)


def test_products_are_few():
    # Paterson and Stockmeyer need about 2 sqrt(degree); the least depth costs a few more.
    assert [series.products(series_of(d)) for d in (2, 3, 7, 15, 27, 31)] == [1, 2, 5, 8, 11, 13]


def test_a_constant_is_refused_and_trailing_zeros_are_free():
    with pytest.raises(BadInput, match="constant"):
        evaluated(Polynomial(coefficients=(1.0, 0.0), interval=(-1.0, 1.0)), np.ones(3))
    _, used, _ = evaluated(Polynomial(coefficients=(1.0, 2.0, 0.0, 0.0), interval=(-1.0, 1.0)), np.ones(3))
    assert used == 1
