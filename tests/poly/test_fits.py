import numpy as np
import pytest

from tests.references import polynomials as slow
from unmask.errors import BadInput
from unmask.poly.certify import alternation, certificate
from unmask.poly.fits import interpolated, minimax, weighted
from unmask.poly.polynomial import Polynomial
from unmask.poly.targets import TARGETS, target

SYMMETRIC = ("gelu", "silu", "relu", "abs", "sigmoid", "tanh", "exp", "cos")
CASES = [(name, (-6.0, 6.0)) for name in SYMMETRIC] + [(name, (-3.0, 5.0)) for name in SYMMETRIC]
CASES += [("inverse", (0.1, 4.0)), ("inverse-sqrt", (0.1, 4.0)), ("inverse", (1.0, 1000.0))]


@pytest.mark.parametrize(("name", "interval"), CASES)
@pytest.mark.parametrize("degree", [1, 4, 7, 15])
def test_minimax_is_within_a_twentieth_of_the_best_and_its_bound_holds(name, interval, degree):
    found = minimax(name, interval, degree)
    bounds = certificate(found, target(name))
    assert 0 < bounds.lower <= bounds.upper <= 1.05 * bounds.lower
    assert bounds.lower <= slow.largest_error(found, TARGETS[name], 8001) * 1.001
    assert slow.largest_error(found, TARGETS[name], 8001) <= found.error


@pytest.mark.parametrize(("name", "degree"), [("gelu", 7), ("relu", 5), ("tanh", 6)])
def test_minimax_is_that_of_a_linear_programme(name, degree):
    for interval in ((-4.0, 4.0), (-2.0, 3.0)):
        assert minimax(name, interval, degree).error == pytest.approx(
            slow.best_uniform(TARGETS[name], interval, degree), rel=2e-2
        )


def test_the_certificate_finds_an_error_between_samples():
    # A spike that no low degree has, hidden from the eleven points where it is zero.
    exact = minimax("cos", (-1.0, 1.0), 11)
    bumped = np.zeros(41)
    bumped[: len(exact.coefficients)] = exact.coefficients
    bumped[40] = 1e-3
    found = Polynomial(coefficients=tuple(bumped), interval=(-1.0, 1.0))
    bounds = certificate(found, target("cos"))
    assert 1e-3 <= bounds.upper <= 1.01e-3


def test_even_functions_get_even_fits_up_to_their_line():
    found = minimax("gelu", (-5.0, 5.0), 9)
    assert found.coefficients[1] == 2.5
    assert all(each == 0 for each in found.coefficients[3::2])
    assert all(each == 0 for each in minimax("tanh", (-5.0, 5.0), 9).coefficients[::2])


def test_interpolation_is_exact_where_the_function_is_a_polynomial_there():
    found = interpolated("relu", (1.0, 3.0), 3)
    x = np.linspace(1, 3, 50)
    assert np.allclose(found(x), x)
    assert found.error < 1e-13


def test_weighting_lowers_the_error_where_the_samples_are():
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.7, 4000).clip(-6, 6)
    tuned, best = weighted("gelu", (-6.0, 6.0), 6, samples), minimax("gelu", (-6.0, 6.0), 6)
    fresh = rng.normal(0, 0.7, 4000).clip(-6, 6)
    gelu = TARGETS["gelu"]
    assert np.mean((tuned(fresh) - gelu(fresh)) ** 2) < 0.2 * np.mean((best(fresh) - gelu(fresh)) ** 2)
    assert tuned.error > best.error
    assert tuned.error >= slow.largest_error(tuned, gelu, 8001)


def test_many_samples_are_fitted_as_few_are():
    samples = np.random.default_rng(0).normal(0, 1.2, 60_000).clip(-6, 6)
    found = weighted("gelu", (-6.0, 6.0), 7, samples)
    # All samples in one least-squares problem, in plain powers.
    spread = 6 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    x = np.concatenate([samples, spread])
    root = np.sqrt(np.concatenate([np.full(60_000, 0.95 / 60_000), np.full(64, 0.05 / 64)]))
    gelu = TARGETS["gelu"]
    slow_fit = np.linalg.lstsq(np.vander(x / 6, 8) * root[:, None], gelu(x) * root, rcond=None)[0]
    t = np.linspace(-6, 6, 500)
    assert np.allclose(found(t), np.vander(t / 6, 8) @ slow_fit, atol=1e-4)


def test_alternation_counts_peaks_and_takes_the_best_of_them():
    assert alternation(np.array([1.0, -2.0, 3.0]), 3) == 1.0
    assert alternation(np.array([1.0, -2.0, 3.0]), 4) == 0.0
    assert alternation(np.array([5.0, -0.1, 5.0, -5.0]), 2) == 5.0


@pytest.mark.parametrize(
    ("name", "interval", "degree"),
    [
        ("swish", (-1.0, 1.0), 3),
        ("inverse", (0.0, 1.0), 3),
        ("gelu", (2.0, 1.0), 3),
        ("gelu", (-1.0, float("nan")), 3),
        ("gelu", (-1.0, 1.0), 0),
        ("gelu", (-1.0, 1.0), 512),
    ],
)
def test_bad_input_is_named(name, interval, degree):
    with pytest.raises(BadInput):
        minimax(name, interval, degree)


@pytest.mark.parametrize("samples", [np.array([7.0]), np.array([]), np.array([np.nan])])
def test_samples_have_to_lie_inside(samples):
    with pytest.raises(BadInput, match="samples"):
        weighted("gelu", (-6.0, 6.0), 3, samples)
