import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.metrics.membership import auc, likelihood_ratio


def slow(scores: np.ndarray, members: np.ndarray) -> float:
    """Compare every member with everybody else."""
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[members] for b in scores[~members]]
    return float(np.mean(pairs))


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    scores, members = rng.integers(0, 6, (5, 8)).astype(float), rng.random((5, 8)) < 0.5
    assert auc(scores, members) == pytest.approx(slow(scores, members), abs=1e-12)
    assert auc(-scores, members) == pytest.approx(1 - auc(scores, members), abs=1e-12)
    assert auc(np.zeros((5, 8)), members) == 0.5


def trainings(gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Return margins whose level differs by image, so that one threshold for all hardly tells members."""
    rng = np.random.default_rng(1)
    members = np.stack([rng.permutation(40) < 20 for _ in range(16)])
    return 5 * rng.standard_normal(40) + gain * members + 0.5 * rng.standard_normal((16, 40)), members


def test_shadows_of_each_image_tell_what_one_threshold_does_not() -> None:
    scores, members = trainings(1.0)
    assert auc(scores, members) < 0.65
    assert auc(likelihood_ratio(scores, members), members) > 0.85


def test_without_a_difference_they_tell_nothing() -> None:
    scores, members = trainings(0.0)
    assert 0.4 < auc(likelihood_ratio(scores, members), members) < 0.55


def test_too_few_trainings_are_refused() -> None:
    members = np.array([[True, False], [False, True]])
    with pytest.raises(BadInput, match="two trainings of each kind"):
        likelihood_ratio(np.zeros((2, 2)), members)
    with pytest.raises(BadInput, match="nothing to compare"):
        auc(np.zeros(3), np.ones(3, dtype=bool))
