"""Noise flooding: what is shared hides the error at the stated advantage, and the stated noise is the noise."""

import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.he.flooding import Flooding
from unmask.privacy.sampling import Randomness

COUNT = 40_000


def best_advantage(flooding, decrypted, exact):
    """The advantage of the best threshold on the mean of `values` shared numbers: the strongest test there is."""
    repeats = COUNT // flooding.values
    shape = (repeats, flooding.values)
    bits = Randomness(seed=5).bits
    first = flooding.apply(np.full(shape, decrypted), bits).mean(axis=1)
    second = flooding.apply(np.full(shape, exact), bits).mean(axis=1)
    ends = np.sort(np.concatenate([first, second]))
    below = np.searchsorted(np.sort(first), ends) - np.searchsorted(np.sort(second), ends)
    return np.abs(below).max() / repeats


def test_the_error_cannot_be_told_beyond_the_stated_advantage():
    flooding = Flooding(error=1e-3, values=4, advantage=0.2)
    assert best_advantage(flooding, 1e-3, 0.0) <= 0.2 + 0.02
    # The control: an error five times as large as was promised shows.
    assert best_advantage(flooding, 5e-3, 0.0) > 0.3


def test_noise_has_the_stated_deviation_and_no_bias():
    flooding = Flooding(error=1e-3, values=4, advantage=0.1)
    shared = flooding.apply(np.full((COUNT,), 0.7), Randomness(seed=3).bits) - 0.7
    assert abs(shared.std() / flooding.sigma - 1) < 0.02
    assert abs(shared.mean()) < 4 * flooding.sigma / np.sqrt(COUNT)


def test_what_is_shared_lies_on_the_grid():
    flooding = Flooding(error=2.0**-10, values=1, advantage=0.5)
    shared = flooding.apply(np.random.default_rng(0).uniform(-1, 1, (7, 3)), Randomness(seed=1).bits)
    assert shared.shape == (7, 3)
    np.testing.assert_array_equal(shared * 2**10, np.rint(shared * 2**10))


@pytest.mark.parametrize(
    "wrong",
    [
        {"error": 0.0},
        {"error": float("nan")},
        {"values": 0},
        {"advantage": 0.0},
        {"advantage": 1.0},
        {"advantage": 1e-15},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(BadInput):
        Flooding(**({"error": 1e-3, "values": 10, "advantage": 0.1} | wrong))
