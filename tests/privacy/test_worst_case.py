import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.privacy import renyi, wishart, worst_case


def test_no_data_lies_outside_the_worst_case_and_some_reaches_it() -> None:
    rng = np.random.default_rng(0)
    closest = 0.0
    for _ in range(400):
        n, d = int(rng.integers(1, 6)), int(rng.integers(1, 4))
        s = float(rng.choice([0.01, 0.3, 2.0]))
        data = rng.normal(size=(n, d)) * rng.choice([0.01, 1.0, 100.0], (n, 1))
        move = rng.normal(size=d)
        other = data.copy()
        other[0] += s * move / np.linalg.norm(move)
        gaps = wishart.eigenvalue_gaps(other @ other.T + np.eye(n), data @ data.T + np.eye(n))
        high, low = worst_case.worst_gaps(s)
        tolerance = 1e-7 * float(np.abs(gaps).max()) + 1e-9
        assert gaps.max() <= high + tolerance and gaps.min() >= low - tolerance
        assert (gaps > tolerance).sum() <= 1 and (gaps < -tolerance).sum() <= 1
        closest = max(closest, float(gaps.max() / high))
    assert closest > 0.99
    data, other = np.array([[0.0], [1e4]]), np.array([[0.3], [1e4]])
    gaps = wishart.eigenvalue_gaps(other @ other.T + np.eye(2), data @ data.T + np.eye(2))
    assert np.allclose(np.sort(worst_case.worst_gaps(0.3)), gaps, rtol=1e-6)


def test_every_pair_inside_the_interval_is_easier_to_hide() -> None:
    high, low = worst_case.worst_gaps(0.4)
    for epsilon in (0.0, 0.5, 2.0):
        top = worst_case.delta_of(0.4, 6, epsilon)
        for u in np.linspace(0, 1, 5):
            for v in np.linspace(0, 1, 5):
                assert wishart.delta_of([u * high, v * low], 6, epsilon) <= top * (1 + 1e-9)


def test_the_pair_is_its_own_mirror_image() -> None:
    gaps = worst_case.worst_gaps(0.7)
    assert np.allclose(np.sort(wishart.inverse(gaps)), np.sort(gaps))
    assert (1 + gaps).prod() == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("degrees", [1, 16, 1024, 1_000_000])
def test_radius_uses_epsilon_up_and_is_three_times_the_published_one(degrees: int) -> None:
    s = worst_case.radius(1.0, 1e-5, degrees)
    assert 0.9999 < worst_case.epsilon_of(s, degrees, 1e-5) <= 1.0
    published = worst_case.published_radius(1.0, 1e-5, degrees)
    assert worst_case.sensitivity(published) == pytest.approx(worst_case.published_cap(1.0, 1e-5, degrees), rel=1e-9)
    assert worst_case.epsilon_of(published, degrees, 1e-5) < 1.0  # sound, and loose
    assert s >= 3 * published
    assert renyi.epsilon(worst_case.renyi(s, degrees), 1e-5) >= 1.0 - 1e-6


def test_radius_of_many_draws_approaches_the_gaussian_limit() -> None:
    # Two gaps of s each and k draws: the loss tends to a normal one with mu = s sqrt(k), so s sqrt(k) -> 1 / 3.7306.
    assert worst_case.radius(1.0, 1e-5, 1_000_000) * 1000 == pytest.approx(1 / 3.7306, rel=2e-3)


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="ratio"):
        worst_case.worst_gaps(0.0)
    with pytest.raises(BadInput, match="epsilon"):
        worst_case.radius(-1.0, 1e-5, 4)
    with pytest.raises(BadInput, match="degrees"):
        worst_case.radius(1.0, 1e-5, 0)
