import math
from dataclasses import replace

import numpy as np
import pytest

from tests.privacy.twin import SLOW
from unmask.errors import BadInput
from unmask.privacy import gaussian, renyi, worst_case
from unmask.privacy.budget import Budget
from unmask.privacy.mechanisms.attention_release import AttentionRelease
from unmask.privacy.mechanisms.bounded_decoding import BoundedDecoding, largest_weight, renyi_divergence
from unmask.privacy.mechanisms.linear_state import LinearState
from unmask.privacy.mechanisms.noisy_read import NoisyRead, Store
from unmask.privacy.mechanisms.token_noise import TokenNoise
from unmask.privacy.sampling import Randomness

READ = NoisyRead(epsilon=1.0, delta=1e-5, queries=4, score_bound=1.0, value_norm=2.0)
STATE = LinearState(epsilon=1.0, delta=1e-5, width=3, features=64, key_norm=1.0, value_norm=2.0)


def store(seed: int = 0, records: int = 40, width: int = 3) -> Store:
    rng = np.random.default_rng(seed)
    return Store(keys=rng.normal(size=(records, 3)), values=2 * rng.normal(size=(records, width)))


def test_every_mechanism_enters_the_ledger_at_its_claim() -> None:
    token = TokenNoise(epsilon=1.0, delta=1e-5, norm=1.0)
    attention = AttentionRelease.calibrated(epsilon=1.0, delta=1e-5, radius=0.1, draws=64)
    decoding = BoundedDecoding(epsilon=1.0, delta=1e-5, tokens=8)
    replacing = replace(decoding, replace=True)
    on_grid = replace(token, grid=0.01, width=4)
    for mechanism in (token, on_grid, READ, STATE, attention, decoding, replacing):
        total = Budget(epsilon=2.0, delta=1e-5).spend(mechanism.spent()).total
        # A curve alone converts a little above the exact profile of the attention release.
        assert total == pytest.approx(1.0, abs=0.15 if mechanism is attention else 1e-3)
    twice = Budget(epsilon=2.0, delta=1e-5).spend(token.spent()).spend(READ.spent())
    assert 1.4 < twice.total < 1.5


def test_attention_release_estimates_the_gram_matrix_at_its_epsilon() -> None:
    mechanism = AttentionRelease.calibrated(epsilon=1.0, delta=1e-5, radius=0.1, draws=64)
    claim = mechanism.guarantee()
    assert claim.epsilon == pytest.approx(1.0, abs=1e-6) and claim.epsilon <= 1.0
    assert claim.scope == "radius 0.1, one matrix, one head"
    assert mechanism.ratio == pytest.approx(worst_case.radius(1.0, 1e-5, 64))
    data = np.random.default_rng(0).normal(size=(4, 6))
    grams = mechanism.release(np.broadcast_to(data, (3000, 4, 6)), Randomness(seed=0)).value
    covariance = data @ data.T + mechanism.eta * np.eye(4)
    deviation = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / 64)
    assert np.abs(grams.mean(0) - data @ data.T).max() < 5 * deviation.max() / 3000**0.5
    assert np.allclose(grams.std(0), deviation, rtol=0.06)


@pytest.mark.parametrize("ridge", [None, "auto", 0.0, math.nan])
def test_attention_release_refuses_a_ridge_that_is_no_public_number(ridge: float | str | None) -> None:
    with pytest.raises(BadInput, match="ridge"):
        AttentionRelease(radius=0.1, ridge=ridge, draws=4, delta=1e-5)


def test_token_noise_has_its_sigma_and_clips() -> None:
    by_norm = TokenNoise(epsilon=1.0, delta=1e-5, norm=1.0)
    assert by_norm.sigma == pytest.approx(gaussian.calibrate(1.0, 1e-5, 2.0))
    assert TokenNoise(epsilon=1.0, delta=1e-5, radius=0.1).sigma == pytest.approx(by_norm.sigma / 20)
    assert TokenNoise(epsilon=1.0, delta=1e-5, radius=9.0, norm=1.0).sensitivity == 2.0
    noisy = by_norm.release(np.tile([30.0, 40.0], (20_000, 1)), Randomness(seed=0))
    assert noisy.value.mean(0) == pytest.approx([0.6, 0.8], abs=5 * by_norm.sigma / 20_000**0.5)
    assert noisy.value.std(0) == pytest.approx(by_norm.sigma, rel=0.03)
    assert noisy.claim.void and not by_norm.release(np.zeros((2, 2)), Randomness()).claim.void


def test_token_noise_on_a_grid_claims_exact_arithmetic() -> None:
    mechanism = TokenNoise(epsilon=1.0, delta=1e-5, norm=1.0, grid=2.0**-8, width=3)
    rounded = 2.0 + 2.0**-8 * 3**0.5
    assert mechanism.sigma == pytest.approx(rounded / math.sqrt(2 * renyi.rho_for(1.0, 1e-5)), abs=2.0**-8)
    released = mechanism.release(np.ones((5, 3)), Randomness())
    assert released.claim.arithmetic == "exact" and not released.claim.void
    assert np.array_equal(released.value * 256, np.rint(released.value * 256))


def test_noisy_read_answers_and_its_sensitivity_is_reached_but_never_passed() -> None:
    records, queries = store(), np.random.default_rng(1).normal(size=(4, 3))
    top, weight = READ.exact(records, queries)
    scaled = Store(
        keys=records.keys,
        values=records.values / np.maximum(1, np.linalg.norm(records.values, axis=1, keepdims=True) / 2),
    )
    slow = np.array([SLOW.exact_read(scaled.keys, scaled.values, q, 1.0) for q in queries])
    assert np.allclose(top / weight[:, None], slow, rtol=1e-12)
    one = 2 * 2.0 * math.e
    rng, largest = np.random.default_rng(2), 0.0
    for _ in range(200):
        keys, values = records.keys.copy(), records.values.copy()
        keys[0], values[0] = 3 * rng.normal(size=3), 9 * rng.normal(size=3)
        other_top, other_weight = READ.exact(Store(keys=keys, values=values), queries)
        moves = np.concatenate([other_top - top, 2.0 * (other_weight - weight)[:, None]], 1)
        largest = max(largest, float(np.linalg.norm(moves, axis=1).max()))
    assert 0.5 * one < largest <= one
    worst = [Store(keys=np.eye(3)[:1] * 9, values=sign * np.array([[2.0, 0, 0]])) for sign in (1, -1)]
    ends = [READ.exact(w, np.eye(3)[:1])[0] for w in worst]
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(one)
    assert READ.noise.sigma == pytest.approx(gaussian.calibrate(1.0, 1e-5, 2 * one))


def test_noisy_read_noise_is_centred_and_refuses_one_query_too_many() -> None:
    many = Store(keys=np.zeros((20_000, 3)), values=np.tile([0.5, 0.0, -0.5], (20_000, 1)))
    answers = READ.release(many, Randomness(seed=0), queries=np.eye(3)).value
    assert np.abs(answers - [0.5, 0.0, -0.5]).max() < 5 * READ.noise.sigma / 20_000
    with pytest.raises(BadInput, match="split over"):
        READ.release(many, Randomness(), queries=np.zeros((5, 3)))
    with pytest.warns(UserWarning, match="1/N"):
        replace(READ, delta=0.1).release(store(), Randomness(), queries=np.eye(3))
    with pytest.raises(BadInput, match="NaN"):
        READ.release(Store(keys=many.keys * np.nan, values=many.values), Randomness(), queries=np.eye(3))


def test_noisy_read_and_linear_state_on_a_grid() -> None:
    few = store(records=5, width=1)
    read = replace(READ, epsilon=30.0, grid=2.0**-6, width=1, queries=1)
    answers = read.release(few, Randomness(), queries=np.eye(3)[:1])
    assert answers.claim.arithmetic == "exact" and answers.value.shape == (1, 1)
    state = replace(STATE, features=4, grid=2.0**-6, value_width=1)
    released = state.release(few, Randomness())
    assert np.array_equal(released.value.top * 64, np.rint(released.value.top * 64))
    with pytest.raises(BadInput, match="width"):
        replace(READ, grid=0.5)


def test_linear_state_sensitivity_is_never_passed_and_is_reached() -> None:
    records = store()
    bound = 2 * STATE.bound * 2.0

    def exact(data: Store) -> np.ndarray:
        values = data.values * np.minimum(1, 2.0 / np.linalg.norm(data.values, axis=1, keepdims=True))
        return STATE.features_of(data.keys).T @ np.concatenate([values, np.full((len(values), 1), 2.0)], 1)

    rng, base, largest = np.random.default_rng(2), exact(records), 0.0
    for _ in range(200):
        keys, values = records.keys.copy(), records.values.copy()
        keys[0], values[0] = 3 * rng.normal(size=3), 9 * rng.normal(size=3)
        largest = max(largest, float(np.linalg.norm(exact(Store(keys=keys, values=values)) - base)))
    assert 0.3 * bound < largest <= bound
    tight = replace(STATE, feature_norm=0.1)
    phi = tight.features_of(np.ones((1, 3)))
    assert np.linalg.norm(phi) == pytest.approx(0.1)
    assert np.linalg.norm(phi.T @ [[2.0, 2.0]] - phi.T @ [[-2.0, 2.0]]) == pytest.approx(2 * 0.1 * 2.0)


def test_linear_state_reads_like_softmax_attention_when_noise_vanishes() -> None:
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(50, 3))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    values = np.sign(keys[:, :1])
    wide = replace(STATE, epsilon=1e6, features=4096, feature_norm=3.0)
    read = wide.release(Store(keys=keys, values=values), Randomness(seed=0)).value.read(keys[:5])
    slow = np.array([SLOW.exact_read(keys, values, q, 2.0) for q in keys[:5]])
    assert np.abs(read - slow).max() < 0.05


def test_divergence_against_a_loop_and_the_weight_is_the_largest() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6), 20), rng.dirichlet(np.ones(6))
    slow = [math.log(sum(a**3 * b**-2 for a, b in zip(row, q, strict=True))) / 2 for row in p]
    assert np.allclose(renyi_divergence(p, q, 3.0), slow)
    weights = largest_weight(p, q, 0.01, 3.0)
    for row, w in zip(p, weights, strict=True):
        both = [
            max(float(renyi_divergence(m, q, 3.0)), float(renyi_divergence(q, m, 3.0)))
            for m in (w * row + (1 - w) * q, min(w * 1.001, 1) * row + (1 - min(w * 1.001, 1)) * q)
        ]
        assert both[0] <= 0.01 and (w == 1 or both[1] > 0.01)
    assert largest_weight(q[None], q, 0.01, 3.0) == pytest.approx(1.0)
    # A word that the public model rules out cannot be mixed in: its divergence is infinite.
    assert largest_weight(np.array([[0.5, 0.5]]), np.array([1.0, 0.0]), 0.01, 3.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("replaced", [False, True])
def test_decoding_stays_within_epsilon_for_any_two_spans(replaced: bool) -> None:
    mechanism = BoundedDecoding(epsilon=2.0, delta=1e-5, tokens=8, replace=replaced)
    rng = np.random.default_rng(0)
    public = rng.dirichlet(np.ones(5))
    a, b = (mechanism.mixture(np.eye(5)[i] * 0.999 + 2e-4, public) for i in (0, 1))
    other = b if replaced else public
    worst = max(float(renyi_divergence(a, other, mechanism.alpha)), float(renyi_divergence(other, a, mechanism.alpha)))
    total = 8 * worst + math.log1p(-1 / mechanism.alpha) - math.log(mechanism.alpha * 1e-5) / (mechanism.alpha - 1)
    assert total <= 2.0 + 1e-9
    assert total > (1.9 if not replaced else 0.5)


def test_decoding_several_spans_costs_none_of_them_more() -> None:
    mechanism = BoundedDecoding(epsilon=2.0, delta=1e-5, tokens=8)
    rng = np.random.default_rng(1)
    public, private = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5), 3)
    without = private.copy()
    without[1] = public
    m, other = mechanism.mixture(private, public), mechanism.mixture(without, public)
    assert renyi_divergence(m, other, mechanism.alpha) <= mechanism.bound
    assert renyi_divergence(other, m, mechanism.alpha) <= mechanism.bound


def test_decoding_calls_the_model_stops_and_samples_the_mixture() -> None:
    mechanism = BoundedDecoding(epsilon=4.0, delta=1e-5, tokens=6)
    seen: list[tuple[int, ...]] = []

    def model(text: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        seen.append(text)
        return np.array([0.0, 1.0, 0.0]), np.array([0.4, 0.3, 0.3])

    text = mechanism.release(model, Randomness(seed=0)).value
    assert len(text) == 6 and seen == [text[:i] for i in range(6)]
    first = [mechanism.release(model, Randomness(seed=i), stop=2).value for i in range(150)]
    assert all(2 not in t[:-1] for t in first)
    share = np.bincount([t[0] for t in first], minlength=3) / 150
    assert np.allclose(share, mechanism.mixture(*model(())), atol=0.12)
    with pytest.raises(BadInput, match="distribution"):
        mechanism.mixture(np.array([0.5, 0.1]), np.array([0.5, 0.5]))
    with pytest.raises(BadInput, match="order"):
        BoundedDecoding(epsilon=0.1, delta=1e-5, tokens=5, order=2.0)


def test_all_tokens_at_once_are_mixed_as_one_by_one() -> None:
    rng = np.random.default_rng(4)
    p, q = rng.dirichlet(np.ones(12) * 0.3, 6), rng.dirichlet(np.ones(12) * 0.3, 6)
    p[0, 3], q[1, 4] = 0.0, 0.0
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    for replace_span in (False, True):
        mechanism = BoundedDecoding(epsilon=4.0, delta=1e-5, tokens=6, replace=replace_span)
        slow = np.stack([mechanism.mixture(one, other) for one, other in zip(p, q, strict=True)])
        assert np.allclose(mechanism.mixtures(p, q), slow, atol=1e-9)
        coarse = mechanism.mixtures(p, q, steps=12)
        assert np.abs(coarse - slow).max() <= 2.0**-12
        # Fewer halvings keep the bound.
        with np.errstate(divide="ignore"):
            worst = np.maximum(
                renyi_divergence(coarse, q, mechanism.enforced), renyi_divergence(q, coarse, mechanism.enforced)
            )
        assert (worst <= mechanism.bound + 1e-12).all()
