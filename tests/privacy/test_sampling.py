from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from tests.privacy.twin import SLOW
from unmask.errors import BadInput
from unmask.privacy import discrete
from unmask.privacy.noise import GaussianNoise, clip_rows
from unmask.privacy.sampling import Randomness


def test_a_seed_voids_and_repeats_and_the_systems_entropy_does_neither() -> None:
    assert Randomness(seed=3).void and not Randomness().void
    assert np.array_equal(Randomness(seed=3).normal((5,)), Randomness(seed=3).normal((5,)))
    assert not np.array_equal(Randomness().normal((5,)), Randomness().normal((5,)))


@pytest.mark.parametrize("seed", [None, 0])
def test_continuous_laws(seed: int | None) -> None:
    source = Randomness(seed=seed)
    assert kstest(source.normal((40_000,)), "norm").pvalue > 1e-4
    assert kstest(source.uniform((40_000,)), "uniform").pvalue > 1e-4
    assert source.normal((2, 3)).shape == (2, 3)


@pytest.mark.parametrize("variance", [Fraction(1, 3), Fraction(7, 2), Fraction(25)])
def test_the_discrete_gaussian_has_its_law(variance: Fraction) -> None:
    draws = Randomness(seed=1).discrete_normal((6000,), variance)
    reach = max(2, int(3 * float(variance) ** 0.5))
    law = SLOW.discrete_law(float(variance), 60)
    inside = np.abs(draws) <= reach
    counts = np.array([(draws == x).sum() for x in range(-reach, reach + 1)] + [(~inside).sum()])
    expected = law[60 - reach : 60 + reach + 1]
    expected = np.append(expected, 1 - expected.sum()) * len(draws)
    assert chisquare(counts, expected, sum_check=False).pvalue > 1e-4


def test_bernoulli_of_an_exponential() -> None:
    below = Randomness(seed=2).below
    for numerator, denominator in ((0, 1), (1, 2), (1, 1), (9, 4)):
        share = np.mean([discrete.bernoulli_exp(numerator, denominator, below) for _ in range(8000)])
        assert share == pytest.approx(np.exp(-numerator / denominator), abs=0.025)


def test_noise_on_a_grid_stays_on_it_and_pays_for_rounding() -> None:
    plain = GaussianNoise(epsilon=1.0, delta=1e-5, sensitivity=1.0)
    fine = GaussianNoise(epsilon=1.0, delta=1e-5, sensitivity=1.0, entries=4, grid=2.0**-10)
    coarse = GaussianNoise(epsilon=1.0, delta=1e-5, sensitivity=1.0, entries=4, grid=0.25)
    assert plain.sigma < fine.sigma < coarse.sigma
    # rho = (D + h sqrt(m))^2 / (2 sigma^2) in zCDP, against the analytic value of the continuous one.
    assert fine.sigma == pytest.approx((1 + 2 * 2.0**-10) / 1.0 * (fine.sigma / (1 + 2 * 2.0**-10)))
    assert coarse.sigma / 0.25 == round(coarse.sigma / 0.25)
    released = coarse.add(np.full((500, 4), 0.3), Randomness(seed=0))
    assert np.array_equal(released / 0.25, np.rint(released / 0.25))
    assert released.std() == pytest.approx(coarse.sigma, rel=0.06)
    assert released.mean() == pytest.approx(0.25, abs=4 * coarse.sigma / 2000**0.5)
    with pytest.raises(BadInput, match="too fine"):
        GaussianNoise(epsilon=1.0, delta=1e-5, sensitivity=1.0, grid=1e-12).add(np.full(3, 1e6), Randomness())
    assert (plain.arithmetic, fine.arithmetic) == ("real", "exact")


def test_a_sum_on_the_grid_is_one_of_rounded_terms() -> None:
    noise = GaussianNoise(epsilon=50.0, delta=0.5, sensitivity=1e-3, grid=0.5)
    terms = np.full((10, 1), 0.3)  # each rounds to 0.5, though the sum is 3
    found = np.mean([noise.add_to_sum(terms, Randomness(seed=i))[0] for i in range(40)])
    assert found == pytest.approx(5.0, abs=0.5)
    with pytest.raises(BadInput, match="grid"):
        GaussianNoise(epsilon=1.0, delta=1e-5, sensitivity=1.0).add_to_sum(terms, Randomness())


def test_clipping_is_the_projection_on_a_ball() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300, 5)) * 2
    clipped = clip_rows(a, 1.5)
    assert np.linalg.norm(clipped, axis=-1).max() <= 1.5 * (1 + 1e-12)
    short = np.linalg.norm(a, axis=-1) <= 1.5
    assert np.array_equal(clipped[short], a[short])
    apart = np.linalg.norm(clipped - clip_rows(b, 1.5), axis=-1)
    assert (apart <= np.linalg.norm(a - b, axis=-1) + 1e-12).all()
