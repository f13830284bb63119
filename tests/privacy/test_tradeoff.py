import math

import numpy as np
import pytest

from tests.references.best_attacker import told_one_of_many, told_one_of_two
from unmask.errors import BadInput
from unmask.privacy import audit, gaussian, tradeoff, wishart
from unmask.privacy.claim import Claim
from unmask.privacy.words import in_words

ALPHAS = np.linspace(0.001, 0.999, 40)


def claim(**changes: object) -> Claim:
    settings: dict = {"epsilon": 1.0, "delta": 1e-5, "unit": "one record", "neighbours": "replace one record"}
    return Claim(**{**settings, "accountant": "exact Wishart", **changes})


def test_a_gaussian_curve_lies_above_each_of_its_epsilon_delta_curves_and_touches_their_envelope() -> None:
    curve = tradeoff.gaussian(0.8)
    for epsilon in (0.1, 0.5, 2.0):
        line = tradeoff.approximate(epsilon, gaussian.delta_of(epsilon, 1.0, 0.8))
        gaps = [curve(float(a)) - line(float(a)) for a in ALPHAS]
        assert min(gaps) > -1e-12
    envelope = tradeoff.from_profile(lambda e: gaussian.delta_of(e, 1.0, 0.8))
    gaps = [curve(float(a)) - envelope(float(a)) for a in ALPHAS]
    assert min(gaps) > -1e-12 and max(gaps) < 2e-3


@pytest.mark.parametrize("gap", [0.4, -0.3])
def test_the_wishart_curve_is_what_the_best_threshold_does(gap: float) -> None:
    rng = np.random.default_rng(0)
    null = rng.chisquare(7, 200_000)
    other = (1 + gap) * rng.chisquare(7, 200_000)
    curve = tradeoff.wishart(gap, 7)
    for alpha in (0.01, 0.2, 0.7):
        threshold = np.quantile(null, 1 - alpha if gap > 0 else alpha)
        missed = (other <= threshold).mean() if gap > 0 else (other > threshold).mean()
        assert curve(alpha) == pytest.approx(float(missed), abs=6e-3)
    # Its hockey-stick is the accountant's: delta = max over alpha of 1 - f(alpha) - e^eps alpha.
    for epsilon in (0.2, 1.0):
        grid = np.linspace(1e-4, 1 - 1e-4, 4001)
        found = max(1 - curve(float(a)) - math.exp(epsilon) * a for a in grid)
        assert max(found, 0) == pytest.approx(wishart.closed_form(gap, 7, epsilon), abs=2e-5)


def test_advantage_and_success() -> None:
    assert tradeoff.advantage(1.0, 1e-5) == pytest.approx((math.e - 1 + 2e-5) / (math.e + 1))
    assert tradeoff.advantage(1000.0, 1e-5) == 1.0
    curve = tradeoff.approximate(1.0, 1e-5)
    # The advantage is the largest distance of the curve from blind guessing.
    found = max(1 - a - curve(float(a)) for a in np.linspace(0, 1, 20_001))
    assert found == pytest.approx(tradeoff.advantage(1.0, 1e-5), abs=1e-4)
    assert tradeoff.success(0.01, curve) == pytest.approx(math.e * 0.01 + 1e-5)
    assert tradeoff.success(0.9, curve) == pytest.approx(1 - (1 - 1e-5 - 0.9) / math.e)
    assert tradeoff.posterior(0.5, 1.0) == pytest.approx(1 / (1 + math.exp(-1)))
    with pytest.raises(BadInput, match="prior"):
        tradeoff.success(0.0, curve)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_the_best_attacker_on_the_worst_mechanism_reaches_what_is_said_and_refutes_less(epsilon: float) -> None:
    rng, trials, delta = np.random.default_rng(5), 400_000, 0.01
    bound = (1 + tradeoff.advantage(epsilon, delta)) / 2
    won = told_one_of_two(epsilon, delta, trials, rng)
    low, high = audit.clopper_pearson(round(won * trials), trials, 1e-4)
    assert low <= bound <= high
    # Half the epsilon is a claim that this attacker refutes.
    assert low > (1 + tradeoff.advantage(epsilon / 2, delta / 2)) / 2


@pytest.mark.parametrize("count", [2, 10, 100])
def test_no_attacker_guesses_one_of_many_more_often_than_is_said(count: int) -> None:
    rng, trials, epsilon, delta = np.random.default_rng(6), 400_000, 1.0, 1e-3
    won = told_one_of_many(epsilon, delta, count, trials, rng)
    low, high = audit.clopper_pearson(round(won * trials), trials, 1e-4)
    bound = tradeoff.success(1 / count, tradeoff.approximate(epsilon, delta))
    exact = delta + (1 - delta) * math.exp(epsilon) / (math.exp(epsilon) + count - 1)
    assert low <= exact <= high and exact <= bound + 1e-12
    # It is near: of many values the best attacker gets most of what the bound leaves.
    assert exact > 0.7 * bound
    assert low > tradeoff.success(1 / count, tradeoff.approximate(epsilon / 4, delta / 4))


def test_words_state_numbers_scope_and_hopelessness() -> None:
    text = " ".join(in_words(claim(scope="one matrix, one head"), prior=0.1))
    assert "73.1%" in text and "27.2%" in text and "one matrix, one head" in text and "next to nothing" not in text
    assert "next to nothing" in " ".join(in_words(claim(epsilon=16.0)))
    assert "nothing is promised" in in_words(claim(void=True))[0]
    assert str(claim(void=True)).startswith("VOID")
    assert "grid" not in " ".join(in_words(claim(arithmetic="exact")))


def test_a_claim_without_its_meaning_is_refused() -> None:
    with pytest.raises(BadInput, match="epsilon alone"):
        claim(unit="")
    with pytest.raises(BadInput, match="status"):
        claim(status="certain")
