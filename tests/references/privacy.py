"""Slow, obvious twins of the privacy accountant."""

import itertools
import math
import warnings

import numpy as np
from scipy.integrate import IntegrationWarning, quad


def gil_pelaez(gaps: np.ndarray, degrees: float, epsilon: float) -> float:
    """delta(epsilon) as two tail probabilities, each by the textbook inversion formula on the real line."""
    gaps = np.asarray(gaps, dtype=np.float64)
    offset = -0.5 * degrees * np.log1p(gaps).sum()

    def above(weights: np.ndarray) -> float:
        def integrand(t: float) -> float:
            phase = t * (offset - epsilon) + 0.5 * degrees * np.arctan(2 * t * weights).sum()
            size = np.exp(-0.25 * degrees * np.log1p((2 * t * weights) ** 2).sum())
            return float(np.sin(phase) * size / t)

        scale = 1 / math.sqrt(2 * degrees * float(np.sum(weights**2)))
        edges = scale * np.concatenate([[0], np.geomspace(0.5, 2e4, 90)])
        pieces = (quad(integrand, a, b, epsabs=1e-13, limit=400)[0] for a, b in itertools.pairwise(edges))
        with warnings.catch_warnings():
            # The last pieces are nearly zero and oscillate, about which quad complains.
            warnings.simplefilter("ignore", IntegrationWarning)
            return 0.5 + math.fsum(pieces) / math.pi

    return above(gaps / 2) - math.exp(epsilon) * above(gaps / (1 + gaps) / 2)


def monte_carlo(
    gaps: np.ndarray, degrees: int, epsilon: float, trials: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Mean and standard error of (1 - e^(epsilon - L))_+ over losses drawn from the first law."""
    gaps = np.asarray(gaps, dtype=np.float64)
    draws = rng.chisquare(degrees, (trials, len(gaps)))
    loss = -0.5 * degrees * np.log1p(gaps).sum() + 0.5 * draws @ gaps
    values = np.maximum(-np.expm1(epsilon - loss), 0)
    return float(values.mean()), float(values.std() / math.sqrt(trials))


def matrix_monte_carlo(
    first: np.ndarray, second: np.ndarray, degrees: int, epsilon: float, trials: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The same from whole matrices: draw vectors, take both log densities, nothing about eigenvalues."""
    root = np.linalg.cholesky(first)
    g = rng.standard_normal((trials, degrees, len(first))) @ root.T

    def log_density(covariance: np.ndarray) -> np.ndarray:
        inverse, size = np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]
        return -0.5 * np.einsum("tki,ij,tkj->t", g, inverse, g) - 0.5 * degrees * size

    values = np.maximum(-np.expm1(epsilon - (log_density(first) - log_density(second))), 0)
    return float(values.mean()), float(values.std() / math.sqrt(trials))


def renyi_of_gaussians(first: np.ndarray, second: np.ndarray, degrees: int, order: float) -> float:
    """Renyi divergence of k draws of two centred Gaussians, from determinants."""
    mixed = order * np.linalg.inv(first) + (1 - order) * np.linalg.inv(second)
    sign, log = np.linalg.slogdet(mixed)
    if sign <= 0 or (np.linalg.eigvalsh(mixed) <= 0).any():
        return math.inf
    logs = order * np.linalg.slogdet(first)[1] + (1 - order) * np.linalg.slogdet(second)[1] + log
    return float(-0.5 * degrees * logs / (order - 1))


def exact_read(keys: np.ndarray, values: np.ndarray, query: np.ndarray, bound: float) -> np.ndarray:
    """One attention read by a loop over the records."""
    top, below = np.zeros(values.shape[1]), 0.0
    for key, value in zip(keys, values, strict=True):
        weight = math.exp(min(max(float(query @ key), -bound), bound))
        top, below = top + weight * value, below + weight
    return top / below


def discrete_law(variance: float, reach: int) -> np.ndarray:
    """Probabilities of the discrete Gaussian on -reach ... reach."""
    x = np.arange(-reach, reach + 1)
    p = np.exp(-(x**2) / (2 * variance))
    return p / p.sum()
