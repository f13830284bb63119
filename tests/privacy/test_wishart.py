import math

import numpy as np
import pytest

from tests.privacy.twin import SLOW
from unmask.errors import BadInput
from unmask.privacy import renyi, tails, wishart
from unmask.privacy.inversion import hockey_stick, loss

CASES = [(0.1, 50, 0.5), (-0.3, 20, 1.0), (0.0326, 100, 1.0), (0.2, 6, 0.0), (-0.1, 8, 0.05), (0.5, 9, -0.5)]


@pytest.mark.parametrize(("gap", "degrees", "epsilon"), CASES)
def test_one_eigenvalue_closed_form_inversion_and_textbook_formula_agree(
    gap: float, degrees: int, epsilon: float
) -> None:
    closed = wishart.closed_form(gap, degrees, epsilon)
    assert hockey_stick(loss([gap], degrees), epsilon) == pytest.approx(closed, rel=1e-9)
    assert SLOW.gil_pelaez([gap], degrees, epsilon) == pytest.approx(closed, abs=1e-7)


def test_known_values() -> None:
    assert wishart.closed_form(0.1, 50, 0.5) == pytest.approx(0.0544673, abs=5e-8)
    assert wishart.closed_form(-0.3, 20, 1.0) == pytest.approx(0.1281968, abs=5e-8)
    # The exact epsilon of a change at the published cap, for target epsilon, k: 1,10; 1,100; 1,10000; 0.1,1000; 4,1000.
    caps = {(0.010857, 10): 0.113, (0.010420, 100): 0.289, (0.00104199, 10_000): 0.249, (0.000329505, 1000): 0.020}
    for (cap, k), expected in caps.items():
        found = max(wishart.epsilon_of([cap], k, 1e-5), wishart.epsilon_of([-cap], k, 1e-5))
        assert found == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(("s", "degrees"), [(0.0473, 4), (0.0318, 16), (0.0191, 64), (0.00560, 1024)])
def test_one_eigenvalue_of_one_minus_s_squared_reaches_the_known_delta(s: float, degrees: int) -> None:
    gap = (1 - s) ** 2 - 1
    assert wishart.epsilon_of([gap], degrees, 1e-5) == pytest.approx(1.0, abs=5e-3)


def test_many_eigenvalues_lie_inside_the_monte_carlo_interval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        gaps = np.exp(rng.normal(0, 0.15, rng.integers(2, 7))) - 1
        degrees, epsilon = int(rng.integers(4, 40)), float(rng.uniform(0, 1))
        mean, error = SLOW.monte_carlo(gaps, degrees, epsilon, 200_000, rng)
        assert abs(wishart.delta_one_order(gaps, degrees, epsilon) - mean) < 4 * error
        assert SLOW.gil_pelaez(gaps, degrees, epsilon) == pytest.approx(
            wishart.delta_one_order(gaps, degrees, epsilon), abs=1e-7
        )


def test_whole_matrices_need_only_their_relative_eigenvalues() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 4, 12))
    first, second = a @ a.T / 12, b @ b.T / 12
    gaps = wishart.eigenvalue_gaps(first, second)
    mean, error = SLOW.matrix_monte_carlo(first, second, 6, 0.5, 100_000, rng)
    assert abs(wishart.delta_one_order(gaps, 6, 0.5) - mean) < 4 * error
    assert np.allclose(np.sort(wishart.inverse(gaps)), wishart.eigenvalue_gaps(second, first))
    curve = wishart.renyi(gaps, 6)
    for order in (1.05, 1.2):
        both = [SLOW.renyi_of_gaussians(*pair, 6, order) for pair in ((first, second), (second, first))]
        assert curve(order) == pytest.approx(max(both), rel=1e-9)


def test_small_delta_keeps_its_digits() -> None:
    # Far below the smallest difference of two float64 probabilities.
    assert wishart.closed_form(0.05, 10, 4.0) == pytest.approx(1.5504465e-32, rel=1e-6)
    assert hockey_stick(loss([0.05], 10), 4.0) == pytest.approx(1.5504465e-32, rel=1e-6)
    deep = hockey_stick(loss([0.05, 0.05], 10), 10.0)
    assert 0 < deep == pytest.approx(wishart.closed_form(0.05, 20, 10.0), rel=1e-6)
    with np.errstate(under="ignore"):
        assert tails.log_chi2_sf(3000.0, 10) == pytest.approx(tails.log_chi2_sf(1300.0, 10) - 846.7, abs=0.1)
    assert tails.log_chi2_cdf(1e-80, 10) == pytest.approx(5 * math.log(5e-81) - math.log(120), rel=1e-12)


def test_the_two_branches_of_a_tail_meet() -> None:
    # Just above and below the size at which SciPy's value is replaced by the fraction or the series.
    x = np.linspace(1320, 1345, 26)
    values = np.array([tails.log_chi2_sf(v, 10) for v in x])
    assert np.abs(np.diff(values, 2)).max() < 1e-4
    x = np.geomspace(1e-59, 1e-57, 26)
    values = np.array([tails.log_chi2_cdf(v, 10) for v in x])
    assert np.allclose(np.diff(values), 5 * np.diff(np.log(x)), atol=1e-9)


def test_epsilon_inverts_delta_and_more_draws_cost_more() -> None:
    gaps = np.array([0.02, -0.03, 0.01])
    epsilon = wishart.epsilon_of(gaps, 50, 1e-5)
    assert wishart.delta_of(gaps, 50, epsilon) == pytest.approx(1e-5, rel=1e-6)
    assert wishart.delta_of(gaps, 50, epsilon) <= 1e-5
    assert wishart.epsilon_of(gaps, 100, 1e-5) > epsilon
    assert wishart.epsilon_of([0.0], 50, 1e-5) == 0.0
    # Two releases of the same pair are one of twice the draws, and Renyi divergences add to an upper bound.
    twice = renyi.epsilon(renyi.compose(wishart.renyi(gaps, 50), wishart.renyi(gaps, 50)), 1e-5)
    assert wishart.epsilon_of(gaps, 100, 1e-5) < twice < 1.2 * wishart.epsilon_of(gaps, 100, 1e-5)


def test_tcdp_bounds_every_order_up_to_its_limit() -> None:
    gaps = np.array([0.05, -0.2, 0.01])
    rho, omega = wishart.tcdp(gaps, 40)
    curve = wishart.renyi(gaps, 40)
    orders = 1 + np.geomspace(1e-6, omega - 1, 50)
    assert all(curve(float(a)) <= rho * a * (1 + 1e-9) for a in orders)
    assert curve(1 + 1e-9) == pytest.approx(max(wishart.kl(gaps, 40), wishart.kl(wishart.inverse(gaps), 40)), rel=1e-5)


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="delta"):
        wishart.epsilon_of([0.1], 10, 0.0)
    with pytest.raises(BadInput, match="gaps"):
        wishart.delta_of([-1.0], 10, 1.0)
