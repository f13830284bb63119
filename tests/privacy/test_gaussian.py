import math

import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.privacy import gaussian, renyi, softmax
from unmask.privacy.checks import budget

dp = pytest.importorskip("dp_accounting")


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (0.1, 1e-9), (8.0, 1e-6), (30.0, 1e-12)])
def test_calibration_agrees_with_dp_accounting(epsilon: float, delta: float) -> None:
    sigma = gaussian.calibrate(epsilon, delta)
    assert sigma == pytest.approx(dp.get_sigma_gaussian(epsilon, delta), rel=1e-6)
    assert gaussian.epsilon_of(delta, sigma) == pytest.approx(epsilon, rel=1e-9)
    assert gaussian.delta_of(epsilon, sigma) <= delta
    assert gaussian.calibrate(epsilon, delta, 2.5) == pytest.approx(2.5 * sigma)


def test_known_values_and_composition() -> None:
    assert gaussian.calibrate(1.0, 1e-5) == pytest.approx(3.7306, abs=5e-5)
    assert gaussian.delta_of(40.0, 0.5) == pytest.approx(8.0828664e-82, rel=1e-6)
    # A hundred releases in one: their privacy losses are independent normals that add up.
    sigma = gaussian.calibrate(1.0, 1e-5, gaussian.composed(1.0, 100))
    event = dp.SelfComposedDpEvent(dp.GaussianDpEvent(sigma), 100)
    found = dp.pld.PLDAccountant().compose(event).get_epsilon(1e-5)
    assert found == pytest.approx(1.0, abs=1e-3)


def test_renyi_conversion_agrees_with_dp_accounting_and_bounds_the_exact_value() -> None:
    sigma = 3.0
    found = renyi.epsilon(renyi.gaussian(gaussian.zcdp(sigma)), 1e-5)
    peer = dp.rdp.RdpAccountant(orders=[1 + x / 10 for x in range(1, 2000)])
    assert found == pytest.approx(peer.compose(dp.GaussianDpEvent(sigma)).get_epsilon(1e-5), rel=1e-3)
    assert gaussian.epsilon_of(1e-5, sigma) < found < 1.3 * gaussian.epsilon_of(1e-5, sigma)
    assert renyi.delta(renyi.gaussian(gaussian.zcdp(sigma)), found) == pytest.approx(1e-5, rel=1e-6)
    rho = renyi.rho_for(1.0, 1e-5)
    assert renyi.epsilon(renyi.gaussian(rho), 1e-5) == pytest.approx(1.0, abs=1e-8)


def test_bad_input_and_the_warning_about_delta() -> None:
    for epsilon, delta in ((0.0, 1e-5), (math.inf, 1e-5), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(BadInput):
            gaussian.calibrate(epsilon, delta)
    with pytest.raises(BadInput, match="sensitivity"):
        gaussian.calibrate(1.0, 1e-5, 0.0)
    with pytest.warns(UserWarning, match="1/N"):
        budget(1.0, 1e-3, records=1000)


def test_softmax_moves_by_at_most_tanh_of_half_the_radius_and_that_is_reached() -> None:
    rng = np.random.default_rng(0)
    for radius in (0.01, 0.3, 3.0):
        bound = softmax.perturbation(radius)
        scores = rng.normal(size=(200, 6)) * 2
        moved = scores + rng.uniform(-radius, radius, scores.shape)
        gap = softmax.attention(moved) - softmax.attention(scores)
        assert np.abs(gap).max() <= bound and 0.5 * np.abs(gap).sum(-1).max() <= bound
        # Half the mass up, half down, starting from log-odds of minus r.
        start = np.array([[0.0, radius]])
        end = start + np.array([[radius, -radius]])
        worst = softmax.attention(end) - softmax.attention(start)
        assert np.abs(worst).max() == pytest.approx(bound, rel=1e-12)


def test_entries_and_spectral_error_of_a_sample_covariance() -> None:
    rng = np.random.default_rng(0)
    n, k = 64, 4096
    root = rng.normal(size=(n, n)) / 8 + np.eye(n)
    a = root @ root.T
    g = root @ rng.normal(size=(n, k))
    error = g @ g.T / k - a
    whitened = np.linalg.solve(root, np.linalg.solve(root, error).T)
    rho = float(np.abs(np.linalg.eigvalsh(whitened)).max())
    assert rho <= softmax.concentration(n, k, 1e-6)
    assert rho == pytest.approx(softmax.concentration(n, k), rel=0.15)
    assert (np.abs(error) <= softmax.entry_error(rho, np.diag(a)) * (1 + 1e-9)).all()
    assert softmax.concentration(128, 16384) == pytest.approx(0.185, abs=5e-4)
    assert softmax.concentration(n, softmax.draws_for(n, 0.25, 0.01), 0.01) == pytest.approx(0.25, rel=1e-3)
