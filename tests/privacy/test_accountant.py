import sys

import pytest

from unmask.errors import BadInput, MissingExtra
from unmask.privacy import accountant, gaussian, renyi
from unmask.privacy.budget import Budget, Spent

pytest.importorskip("dp_accounting")


def test_dp_sgd_agrees_with_opacus() -> None:
    opacus = pytest.importorskip("opacus.accountants")
    noise, rate, steps, delta = 1.0, 0.01, 300, 1e-5
    ours = accountant.epsilon_of(noise, rate, steps, delta)
    prv, rdp = opacus.PRVAccountant(), opacus.RDPAccountant()
    prv.history, rdp.history = [(noise, rate, steps)], [(noise, rate, steps)]
    # PRV's own error bound is 0.01; the estimates agree to 1e-3.
    assert ours == pytest.approx(prv.get_epsilon(delta=delta, eps_error=1e-3), abs=2e-3)
    assert ours < rdp.get_epsilon(delta=delta)


def test_the_audited_steps_keep_their_claim() -> None:
    # The settings of the DP-SGD game in benchmarks/privacy_games.py, which claims epsilon 1.
    assert 0.99 < accountant.epsilon_of(1.695, 0.05, 50, 1e-5) <= 1.0


def test_without_sampling_it_is_a_gaussian() -> None:
    expected = gaussian.epsilon_of(1e-5, 5.0, gaussian.composed(1.0, 10))
    assert accountant.epsilon_of(5.0, 1.0, 10, 1e-5) == pytest.approx(expected, abs=1e-3)
    assert accountant.delta_of(5.0, 1.0, 10, expected) == pytest.approx(1e-5, rel=1e-2)


def test_noise_is_calibrated_on_the_safe_side() -> None:
    noise = accountant.noise_for(0.5, 1e-5, 0.05, 20)
    assert accountant.epsilon_of(noise, 0.05, 20, 1e-5) <= 0.5
    assert accountant.epsilon_of(noise - 5e-3, 0.05, 20, 1e-5) > 0.5
    claim = accountant.claim(noise, 0.05, 20, 1e-5)
    assert (claim.neighbours, claim.accountant) == ("add or remove one training example", "PLD")
    assert claim.status == "claimed"


def test_bad_input_and_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in ((0.0, 0.1, 1, 1e-5), (1.0, 0.0, 1, 1e-5), (1.0, 1.5, 1, 1e-5), (1.0, 0.1, 0, 1e-5)):
        with pytest.raises(BadInput):
            accountant.epsilon_of(*arguments)
    with pytest.raises(BadInput, match="delta"):
        accountant.epsilon_of(1.0, 0.1, 1, 1.0)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(MissingExtra, match=r"unmask\[privacy\]"):
        accountant.epsilon_of(1.0, 0.1, 1, 1e-5)


def test_the_ledger_composes_exactly_and_refuses_with_what_is_left() -> None:
    ledger = Budget(epsilon=1.0, delta=1e-5)
    for _ in range(4):
        ledger = ledger.spend(Spent(name="noise", mu=0.1))
    assert ledger.total == pytest.approx(gaussian.epsilon_of(1e-5, 1.0, 0.2))
    ledger = ledger.spend(Spent(name="count", epsilon=0.1))
    with pytest.raises(BadInput, match=r"of 1 at delta 1e-05.*epsilon 0\.\d+ is left") as refused:
        ledger.spend(Spent(name="table", epsilon=0.5))
    assert f"{ledger.left:.4g}" in str(refused.value)
    assert len(ledger.entries) == 5  # the refused release is not in it
    assert ledger.spend(Spent(name="rest", epsilon=ledger.left * 0.999)).left < 1e-3


def test_the_ledger_adds_renyi_curves_and_keeps_delta() -> None:
    curve = renyi.gaussian(0.02)
    ledger = Budget(epsilon=3.0, delta=1e-5).spend(Spent(name="a", curve=curve)).spend(Spent(name="b", mu=0.2))
    assert ledger.total == pytest.approx(renyi.epsilon(renyi.gaussian(0.04), 1e-5))
    with pytest.raises(BadInput, match="inf"):
        ledger.spend(Spent(name="delta", epsilon=0.1, delta=1e-5))
    with pytest.raises(BadInput, match="exactly one"):
        Spent(name="both", epsilon=1.0, mu=1.0)
    with pytest.raises(BadInput, match="mu"):
        Spent(name="none", mu=0.0)


def test_noise_that_promises_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="promises nothing"):
        accountant.epsilon_of(0.01, 1.0, 1, 1e-5)
    # A claim about it is still an upper bound, which meets the accountant's where that begins.
    faint = accountant.claim(0.0499, 0.5, 2, 1e-5)
    assert faint.accountant == "analytic Gaussian without sampling"
    assert faint.epsilon == pytest.approx(gaussian.epsilon_of(1e-5, 0.0499 / 2**0.5))
    assert 400 < faint.epsilon < 600
