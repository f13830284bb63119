import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from benchmarks.privacy_games import EPSILON, Game, bound, games
from unmask.errors import BadInput
from unmask.privacy import audit, gaussian, one_run, tradeoff

GAMES = games()


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_a_correct_mechanism_passes(game: Game) -> None:
    found = bound(game.correct, game.trials, seed=3)
    assert 0.1 < found.value < EPSILON < found.cap


BROKEN = [pytest.param(game, how, id=f"{game.name}, {how}") for game in GAMES for how in game.broken]


@pytest.mark.parametrize(("game", "how"), BROKEN)
def test_a_broken_mechanism_is_caught(game: Game, how: str) -> None:
    assert bound(game.broken[how], game.trials // 2, seed=4).value > EPSILON


def test_the_suite_breaks_mechanisms_in_many_ways() -> None:
    assert sum(len(game.broken) for game in GAMES) >= 8


def test_clopper_pearson_agrees_with_scipy() -> None:
    for x, n in ((0, 20), (3, 20), (20, 20)):
        low, high = audit.clopper_pearson(x, n, 0.025)
        expected = binomtest(x, n).proportion_ci(0.95, method="exact")
        assert (float(low), float(high)) == pytest.approx((expected.low, expected.high))


def test_the_bound_of_a_gaussian_covers_its_mu_and_is_close() -> None:
    rng = np.random.default_rng(0)
    bounds = []
    for _ in range(40):
        scores = audit.game(rng.normal(1.0, 1, 4000), rng.normal(0, 1, 4000))
        bounds.append(audit.distinguish(scores, audit.mu_measure))
    values = [b.value for b in bounds]
    assert np.mean([v > 1.0 for v in values]) <= 0.05 and np.mean(values) > 0.8
    assert not any(b.refutes(tradeoff.gaussian(1.0)) for b in bounds)
    assert all(b.refutes(tradeoff.gaussian(0.5)) for b in bounds)
    assert audit.epsilon_from_mu(1.0, 1e-5) == pytest.approx(gaussian.epsilon_of(1e-5, 1.0))


def test_the_better_side_is_found_when_scores_point_the_wrong_way() -> None:
    rng = np.random.default_rng(0)
    scores = audit.game(rng.normal(0, 1, 4000), rng.normal(2, 1, 4000))
    assert audit.distinguish(scores, audit.epsilon_measure(1e-5)).value > 1


def test_no_difference_gives_nothing_and_says_what_it_is_worth() -> None:
    rng = np.random.default_rng(0)
    found = audit.distinguish(audit.game(*rng.normal(size=(2, 500))), audit.epsilon_measure(0.0))
    assert found.value < 0.5 and "no certificate" in str(found)


def test_ids_travel_with_scores() -> None:
    values, first = np.arange(8.0), np.arange(8) < 4
    with pytest.raises(BadInput, match="repeat"):
        audit.Scores(ids=["a"] * 8, values=values, first=first)
    with pytest.raises(BadInput, match="ids"):
        audit.Scores(ids=["a"], values=values, first=first)
    with pytest.raises(BadInput, match="NaN"):
        audit.Scores(ids=list("abcdefgh"), values=values * np.nan, first=first)
    with pytest.raises(BadInput, match="fewer than 4"):
        audit.Scores(ids=list("abcdefgh"), values=values, first=np.arange(8) < 2)


def test_one_run_bounds_randomised_response() -> None:
    # The mechanism that its p-value is exact for: each guess is right with chance e^eps / (e^eps + 1).
    rng = np.random.default_rng(0)
    above, values = 0, []
    for _ in range(60):
        coins = rng.random(400) < 0.5
        scores = np.where(rng.random(400) < expit(1.0), coins, ~coins) + rng.normal(0, 1e-6, 400)
        found = one_run.one_run([str(i) for i in range(400)], scores, coins, delta=0.0)
        above += found.epsilon > 1.0
        values.append(found.epsilon)
    assert above <= 7 and np.mean(values) > 0.6


def test_one_run_p_value_with_delta_is_larger_and_exact_without() -> None:
    chance = float(expit(0.5))
    tail = sum(math.comb(20, i) * chance**i * (1 - chance) ** (20 - i) for i in range(16, 21))
    assert one_run.p_value(16, 20, 30, 0.5, 0.0) == pytest.approx(tail)
    pmf = [math.comb(20, i) * chance**i * (1 - chance) ** (20 - i) for i in range(21)]
    most = max(sum(pmf[16 - i : 16]) / i for i in range(1, 17))
    assert one_run.p_value(16, 20, 30, 0.5, 1e-3) == pytest.approx(tail + 2 * 30 * 1e-3 * most)


def test_one_run_never_passes_its_cap_and_prints_it() -> None:
    coins = np.arange(100) % 2 == 0
    ids = [str(i) for i in range(100)]
    perfect = one_run.one_run(ids, coins.astype(float), coins, delta=0.0)
    assert perfect.epsilon == pytest.approx(perfect.cap) and perfect.correct == 100
    assert f"{perfect.cap:.3g}" in str(perfect) and "nothing above" in str(perfect)
    assert one_run.one_run(ids, 1.0 - coins, coins, delta=0.0).epsilon == 0.0
    fewer = one_run.one_run(ids, coins.astype(float), coins, delta=0.0, guesses=20)
    assert fewer.cap < perfect.cap
    for wrong in (1, 101):
        with pytest.raises(BadInput, match="guesses"):
            one_run.one_run(ids, coins.astype(float), coins, delta=0.0, guesses=wrong)
    with pytest.raises(BadInput, match="repeat"):
        one_run.one_run(["x"] * 100, coins.astype(float), coins, delta=0.0)
