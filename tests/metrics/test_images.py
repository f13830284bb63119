"""Image metrics against their slow twins, and at the edges."""

import numpy as np
import pytest

from tests.references import images as slow
from unmask.errors import BadInput
from unmask.metrics import images

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_agrees_with_windows_one_by_one(channels: int) -> None:
    a = DRAW.random((channels, 14, 16))
    b = np.clip(a + 0.2 * DRAW.standard_normal(a.shape), 0, 1)
    assert images.ssim(a, b) == pytest.approx(max(0.0, slow.ssim(a, b)), rel=1e-9)
    assert images.ssim(a, a) == pytest.approx(1.0)


def test_ssim_falls_with_noise_and_works_on_small_images() -> None:
    a = np.linspace(0, 1, 32 * 32).reshape(1, 32, 32)
    noisy = [images.ssim(a, np.clip(a + s * DRAW.standard_normal(a.shape), 0, 1)) for s in (0.01, 0.1, 0.5)]
    assert noisy == sorted(noisy, reverse=True)
    assert images.ssim(np.zeros((1, 4, 4)), np.zeros((1, 4, 4))) == pytest.approx(1.0)


def test_psnr_is_in_decibels() -> None:
    a = np.zeros((1, 8, 8))
    assert images.psnr(a, a + 0.001) == pytest.approx(60.0)
    assert images.psnr(a, a) == images.CEILING_DB


def test_cosine_of_black_images() -> None:
    black, grey = np.zeros((1, 4, 4)), np.full((1, 4, 4), 0.5)
    assert images.cosine(black, black) == 1
    assert images.cosine(black, grey) == 0
    assert images.cosine(grey, 2 * grey) == pytest.approx(1.0)


def test_matching_is_the_best_of_all() -> None:
    secret = list(DRAW.random((4, 1, 5, 5)))
    guess = [secret[i] + 0.3 * DRAW.standard_normal((1, 5, 5)) for i in (2, 0, 3, 1)]
    found = images.match(secret, guess)
    total = sum(images.mse(a, guess[j]) for a, j in zip(secret, found, strict=True))
    assert total == pytest.approx(slow.best_matching(secret, guess))
    assert images.match(secret, [secret[2], secret[0]]) == (1, None, 0, None)
    assert images.match(secret, [secret[2], secret[0]], greedy=True) == (1, None, 0, None)


def test_score_matches_first_and_ignores_surplus_guesses() -> None:
    secret = list(DRAW.random((2, 3, 16, 16)))
    scores, measures, assignment = images.score(secret, [secret[1], secret[0], secret[0]])
    assert assignment == (1, 0)
    assert scores == {"ssim": pytest.approx(1.0), "cosine": pytest.approx(1.0), "recovered": 1.0}
    assert measures["psnr_db"] == images.CEILING_DB
    scores, _, assignment = images.score(secret, [np.zeros_like(secret[0]), np.zeros_like(secret[0]), *secret])
    assert scores["recovered"] == 0


def test_a_missing_guess_scores_nothing() -> None:
    scores, _, assignment = images.score([np.ones((1, 16, 16))], [])
    assert assignment == (None,)
    assert set(scores.values()) == {0.0}


def test_pixels_that_are_no_numbers_count_as_black() -> None:
    secret = DRAW.random((1, 16, 16))
    scores, _, _ = images.score([secret], [np.full_like(secret, np.nan)])
    assert scores["recovered"] == 0


def test_other_shapes_are_bad_input() -> None:
    with pytest.raises(BadInput, match="holds no image"):
        images.score([], [])
    with pytest.raises(BadInput, match="is no image of shape"):
        images.score([np.zeros((1, 16, 16))], [np.zeros((1, 8, 8))])
