import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.poly.fits import interpolated, minimax
from unmask.poly.moduli import drift, primes
from unmask.poly.polynomial import Polynomial
from unmask.poly.program import least_depth, program, programs


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 27, 31, 63, 100])
@pytest.mark.parametrize("name", ["exp", "tanh", "gelu"])
def test_every_program_evaluates_its_polynomial(name, degree):
    found = interpolated(name, (-3.0, 4.0), degree)
    x = np.linspace(-3, 4, 301)
    for each in programs(found):
        assert np.allclose(each(x), found(x), rtol=0, atol=1e-12 * np.abs(found(x)).max())
    assert programs(found)[0].depth <= least_depth(degree)


def depth_by_hand(found):
    depths = [0]
    for step in found.steps:
        parents = [depths[node] for node, _ in step.weights] or [depths[node] for node in step.product or ()]
        depths.append(max([1 + max(parents, default=-1), *(depths[node] for node, _ in step.added)]))
    return depths[-1]


@pytest.mark.parametrize("degree", [2, 3, 7, 15, 31, 40])
def test_the_stated_depth_is_that_of_the_longest_path(degree):
    for each in programs(interpolated("exp", (-1.0, 1.0), degree)):
        assert each.depth == depth_by_hand(each)


def test_more_depth_buys_fewer_products():
    known = programs(interpolated("exp", (-15.0, 15.0), 31))
    assert [each.depth for each in known] == [5, 6]
    assert [each.products for each in known] == [19, 11]
    assert program(interpolated("exp", (-15.0, 15.0), 31), depth=5).products == 19
    with pytest.raises(BadInput, match="below 5"):
        program(interpolated("exp", (-15.0, 15.0), 31), depth=4)


def test_a_square_takes_one_level_whatever_its_sign():
    for leading in (0.7, -0.7):
        found = Polynomial(coefficients=(0.1, 0.4, leading), interval=(-2.0, 3.0))
        only = programs(found)
        assert (len(only), only[0].depth, only[0].products) == (1, 1, 1)
        x = np.linspace(-2, 3, 50)
        assert np.allclose(only[0](x), found(x))


def test_an_even_fit_costs_what_its_real_degree_does():
    assert program(minimax("gelu", (-4.0, 4.0), 3)).depth == 1
    with pytest.raises(BadInput, match="constant"):
        programs(Polynomial(coefficients=(1.0, 0.0), interval=(0.0, 1.0)))


def test_primes_are_primes_of_the_right_residue_around_the_scale():
    found = primes(12, 30, 6)
    for prime in found:
        assert prime % 2**13 == 1
        assert all(prime % divisor for divisor in range(3, int(prime**0.5) + 1, 2))
    assert found[-1] > 2**30 > found[-2]
    assert np.allclose(drift(12, 30, 6), [2**30 / prime - 1 for prime in found], atol=1e-12)
