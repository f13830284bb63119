import numpy as np
import pytest
from scipy.special import ndtr, softmax

from unmask.errors import BadInput
from unmask.poly.composite import gelu, relu, sign
from unmask.poly.goldschmidt import Power, goldschmidt, plain_steps
from unmask.poly.softmax import exponential, normalise_and_square, power_softmax

WIDE = {Power.INVERSE: [(2.0**-11, 1.0), (0.5, 900.0)], Power.INVERSE_SQRT: [(0.15, 10.0), (0.75, 2500.0)]}


@pytest.mark.parametrize("degree", [0, 7])
@pytest.mark.parametrize(("power", "interval"), [(power, each) for power, all_ in WIDE.items() for each in all_])
def test_goldschmidt_stays_within_its_certified_error_and_meets_it(power, interval, degree):
    found = goldschmidt(power, interval, 1e-3, degree=degree)
    x = np.concatenate([np.geomspace(*interval, 20_001), np.linspace(*interval, 20_001)]).clip(*interval)
    relative = np.abs(found(x) * (x if power is Power.INVERSE else np.sqrt(x)) - 1)
    assert relative.max() <= found.error <= 1e-3
    assert relative.max() > 0.9 * found.error


def test_relaxation_saves_the_steps_that_are_published():
    # THOR's floors and variance ranges: 8 against 14; 5, 6, 7 against 8, 11, 13.
    def steps(power, interval):
        found = goldschmidt(power, interval, 1e-3)
        return len(found.steps), plain_steps(power, found.floor, 1e-3)

    assert steps(Power.INVERSE, (2.0**-11, 1.0)) == (8, 14)
    root = Power.INVERSE_SQRT
    assert [steps(root, each) for each in ((0.15, 10.0), (0.2, 150.0), (0.75, 2500.0))] == [(5, 8), (6, 11), (7, 13)]


def test_depth_and_products_are_counted_by_hand():
    found = goldschmidt(Power.INVERSE, (0.1, 1.0), 1e-2)
    # y1 is affine in b0; from then on a product for y and one for b at each step, the last b is not needed.
    assert (found.depth, found.products) == (len(found.steps), 2 * len(found.steps) - 2)
    root = goldschmidt(Power.INVERSE_SQRT, (0.1, 1.0), 1e-2)
    count = len(root.steps)
    assert (root.depth, root.products) == (2 * count - 1, 3 * count - 3)


@pytest.mark.parametrize(("interval", "error"), [((0.0, 1.0), 1e-3), ((1.0, 0.5), 1e-3), ((0.1, 1.0), 2.0)])
def test_goldschmidt_refuses_what_has_no_inverse(interval, error):
    with pytest.raises(BadInput):
        goldschmidt(Power.INVERSE, interval, error)


@pytest.mark.parametrize(("epsilon", "error"), [(0.1, 1e-2), (0.01, 1e-3), (2.0**-8, 2.0**-8)])
def test_the_composite_sign_is_certified_everywhere(epsilon, error):
    found = sign(epsilon, error)
    outer, whole = np.linspace(epsilon, 1, 40_001), np.linspace(0, 1, 40_001)
    assert np.abs(found(outer) - 1).max() <= found.error <= error
    assert np.all(found(whole) >= 0)
    assert found(whole).max() <= found.overshoot
    assert np.allclose(found(-whole), -found(whole), rtol=0, atol=1e-12)
    assert found.products < 40


def test_given_degrees_are_used_or_refused():
    assert [stage.degree for stage in sign(0.1, 0.01, degrees=(7, 7)).stages] == [7, 7]
    with pytest.raises(BadInput, match="degrees"):
        sign(0.1, 0.01, degrees=(3,))


@pytest.mark.parametrize(("radius", "error"), [(20.0, 0.1)])
def test_gates_from_signs_are_certified(radius, error):
    x = np.linspace(-radius, radius, 100_001)
    for found, exact in ((relu(radius, error), np.maximum(x, 0)), (gelu(radius, error), x * ndtr(x))):
        assert np.abs(found(x) - exact).max() <= found.error <= error


@pytest.mark.parametrize("interval", [(-20.0, 0.0)])
def test_the_squared_exponential_is_certified(interval):
    found = exponential(interval, 1e-3)
    x = np.linspace(*interval, 5001)
    assert np.abs(found(x) / np.exp(x) - 1).max() <= found.error <= 1e-3


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_normalise_and_square_is_softmax(rounds):
    found = normalise_and_square((-8.0, 8.0), 32, 1e-2, rounds=rounds)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-8, 8, (200, 32)), np.full((1, 32), 8.0), np.full((1, 32), -8.0)])
    assert np.abs(found(x) / softmax(x, axis=-1) - 1).max() <= found.error <= 1e-2


def test_power_softmax_divides_as_exactly_as_it_says():
    found = power_softmax(3.0, 1e-3, power=4)
    x = np.random.default_rng(0).uniform(-3, 3, (300, 16))
    assert np.abs(found(x) / found.exact(x) - 1).max() <= found.error * (1 + 1e-9) <= 1e-3
    assert np.allclose(found.exact(x).sum(-1), 1, atol=0.01)
    with pytest.raises(BadInput, match="power"):
        power_softmax(3.0, 1e-3, power=3)
