"""Scores of recovered images against the secret ones. Functions of arrays, with no model and no torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.optimize import linear_sum_assignment

from unmask.errors import BadInput

Image = NDArray[np.float64]
"""One image (channels, height, width) with pixels in [0, 1]."""

KEYS = ("ssim", "cosine", "recovered")
"""Scores in [0, 1]."""

MEASURES = ("psnr_db", "mse", "l2")
"""Further numbers, with their unit where they have one."""

RECOVERED_DB = 30.0
"""Peak signal-to-noise ratio from which on an image counts as recovered: differences are hard to see."""

CEILING_DB = 200.0
"""What stands for the infinite ratio of two equal images, so that means and JSON can hold it."""

WINDOW, DEVIATION, K1, K2 = 11, 1.5, 0.01, 0.03
"""The published window and constants of SSIM."""


def mse(secret: Image, guess: Image) -> float:
    """Return the mean squared difference of the pixels."""
    return float(np.mean((secret - guess) ** 2))


def l2(secret: Image, guess: Image) -> float:
    """Return the Euclidean norm of the difference, `sqrt(sum_i (a_i - b_i)^2)`."""
    return float(np.linalg.norm(secret - guess))


def psnr(secret: Image, guess: Image) -> float:
    """Return the peak signal-to-noise ratio `-10 log10(mse)` in decibels for pixels in [0, 1], at most 200.

    Example:
        >>> round(psnr(np.zeros((1, 4, 4)), np.full((1, 4, 4), 0.1)), 6)
        20.0
    """
    error = mse(secret, guess)
    return CEILING_DB if error == 0 else min(CEILING_DB, -10 * float(np.log10(error)))


def cosine(secret: Image, guess: Image) -> float:
    """Return the cosine of the pixels' vectors, 0 if one of two is black and 1 if both are."""
    norms = float(np.linalg.norm(secret) * np.linalg.norm(guess))
    if norms == 0:
        return float(not secret.any() and not guess.any())
    return min(1.0, max(0.0, float(np.vdot(secret, guess)) / norms))


def ssim(secret: Image, guess: Image) -> float:
    """Return the mean structural similarity over pixels and channels, negative means as 0.

    Means, variances and the covariance are weighted by a Gaussian window of 11 x 11 pixels with a
    standard deviation of 1.5, at those places where it lies inside the image; in an image smaller than
    the window at all of them, with edges mirrored.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment", 2004, with its constants.
    """
    c1, c2 = K1**2, K2**2
    ma, mb = _blur(secret), _blur(guess)
    va, vb = _blur(secret * secret) - ma * ma, _blur(guess * guess) - mb * mb
    both = _blur(secret * guess) - ma * mb
    map_ = (2 * ma * mb + c1) * (2 * both + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    edge = WINDOW // 2
    if min(secret.shape[1:]) >= WINDOW:
        map_ = map_[:, edge:-edge, edge:-edge]
    return min(1.0, max(0.0, float(map_.mean())))


def match(secret: Sequence[Image], guess: Sequence[Image], *, greedy: bool = False) -> tuple[int | None, ...]:
    """Match guesses to secrets one to one so that the sum of squared differences is smallest.

    Args:
        secret: the true images.
        guess: the recovered ones, of the same shape; those beyond the number of secrets may match too.
        greedy: take the closest pair, then the closest of what is left, instead of the smallest sum.

    Returns:
        For each secret the index of its guess, or None if there were too few.
    """
    if not len(guess):
        return (None,) * len(secret)
    cost = np.array([[mse(a, b) for b in guess] for a in secret])
    matched: dict[int, int] = {}
    if greedy:
        for flat in np.argsort(cost, axis=None, kind="stable"):
            row, column = (int(index) for index in np.unravel_index(flat, cost.shape))
            if row not in matched and column not in matched.values():
                matched[row] = column
    else:
        rows, columns = linear_sum_assignment(cost)
        matched = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return tuple(matched.get(index) for index in range(len(secret)))


def score(
    secret: Sequence[Image], guess: Sequence[Image]
) -> tuple[dict[str, float], dict[str, float], tuple[int | None, ...]]:
    """Return the mean scores and measures over the secrets, and which guess was matched to which.

    A secret without a guess scores as a black guess in the measures and 0 in the scores. As many
    guesses as there are secrets take part: an attack cannot score by guessing more.

    Args:
        secret: the true images, all of one shape (channels, height, width), pixels in [0, 1].
        guess: the recovered images; pixels beyond [0, 1] are cut off, as a picture would.

    Returns:
        Scores in [0, 1] under `KEYS`, measures under `MEASURES`, and the matching.

    Raises:
        BadInput: if there is no secret, or a guess has another shape.
    """
    if not len(secret):
        raise BadInput("secret", [], "holds no image", "give at least one")
    true = [np.asarray(image, dtype=np.float64) for image in secret]
    found = [np.clip(np.nan_to_num(np.asarray(image, dtype=np.float64)), 0, 1) for image in guess][: len(true)]
    for image in (*true, *found):
        if image.shape != true[0].shape:
            raise BadInput("guess", image.shape, f"is no image of shape {true[0].shape}", "recover the model's shape")
    assignment = match(true, found)
    rows = [_pair(image, None if j is None else found[j]) for image, j in zip(true, assignment, strict=True)]
    means = {key: sum(row[key] for row in rows) / len(rows) for key in (*KEYS, *MEASURES)}
    return {key: means[key] for key in KEYS}, {key: means[key] for key in MEASURES}, assignment


def _pair(secret: Image, guess: Image | None) -> dict[str, float]:
    if guess is None:
        black = np.zeros_like(secret)
        measured = {"psnr_db": psnr(secret, black), "mse": mse(secret, black), "l2": l2(secret, black)}
        return {**dict.fromkeys(KEYS, 0.0), **measured}
    ratio = psnr(secret, guess)
    return {
        "ssim": ssim(secret, guess),
        "cosine": cosine(secret, guess),
        "recovered": float(ratio >= RECOVERED_DB),
        "psnr_db": ratio,
        "mse": mse(secret, guess),
        "l2": l2(secret, guess),
    }


def _blur(image: Image) -> Image:
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * DEVIATION**2))
    weights /= weights.sum()
    for axis in (1, 2):
        image = correlate1d(image, weights, axis=axis, mode="reflect")
    return image
