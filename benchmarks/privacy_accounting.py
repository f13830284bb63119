"""The rows of the accountants: exact against Monte Carlo, against the published condition, against other libraries."""

import time
import warnings

import numpy as np
from opacus.accountants import PRVAccountant, RDPAccountant

from benchmarks.rows import Row, versions
from tests.privacy.twin import SLOW
from unmask.privacy import accountant, renyi, wishart, worst_case

COMMAND = "make bench TOPIC=privacy"
PACKAGES = ("unmask", "numpy", "scipy", "dp-accounting", "opacus")
SPECTRA, TRIALS, DELTA = 20, 1_000_000, 1e-5
DRAWS = (1, 4, 16, 64, 92, 256, 1024, 16_384, 1_000_000)
SETTINGS = ((1.0, 0.01, 1000), (0.8, 0.02, 500), (1.5, 0.05, 400), (4.0, 0.2, 200), (0.7, 0.002, 5000))
PRV_ERROR = 2e-4
# Two-sided, so that all twenty intervals hold together with a chance of 95 per cent.
Z = 3.023


def row(setting: str, bar: str, measured: float | str, holds: bool, n: int, seconds: float, **more: str) -> Row:
    """Return a row of this topic."""
    return Row(
        setting=setting,
        bar=bar,
        measured=measured,
        unit=more.get("unit", ""),
        holds=bool(holds),
        control=more.get("control"),
        n=n,
        seconds=round(seconds, 1),
        command=COMMAND,
        versions=versions(PACKAGES),
        reason=more.get("reason", ""),
    )


def wishart_rows() -> list[Row]:
    """The exact accountant against Monte Carlo on random spectra, and its closed form against inversion."""
    began, rng, inside, worst = time.perf_counter(), np.random.default_rng(20), 0, 0.0
    for _ in range(SPECTRA):
        gaps = np.exp(rng.normal(0, rng.uniform(0.02, 0.4), int(rng.integers(1, 12)))) - 1
        degrees, epsilon = int(rng.integers(1, 200)), float(rng.uniform(0, 2))
        mean, error = SLOW.monte_carlo(gaps, degrees, epsilon, TRIALS, rng)
        exact = wishart.delta_one_order(gaps, degrees, epsilon)
        # With few hits the error of the mean is itself uncertain; 3/trials covers no hit at all.
        inside += abs(exact - mean) <= Z * error + 3 / TRIALS
        worst = max(worst, abs(exact - mean) / (error + 1 / TRIALS))
    seconds = time.perf_counter() - began
    began, furthest, count = time.perf_counter(), 0.0, 60
    for _ in range(count):
        gap, degrees = float(np.exp(rng.normal(0, 0.3)) - 1), int(rng.integers(5, 200))
        epsilon = float(rng.uniform(0, 2))
        closed = wishart.closed_form(gap, degrees, epsilon)
        furthest = max(furthest, abs(SLOW.gil_pelaez([gap], degrees, epsilon) - closed))
        tilted = wishart.hockey_stick(wishart.loss([gap], degrees), epsilon)
        furthest = max(furthest, abs(tilted - closed))
    return [
        row(
            "Wishart accountant against Monte Carlo, random spectra of 1 to 11 eigenvalues: inside the 95% interval",
            f"{SPECTRA} of {SPECTRA}",
            f"{inside} of {SPECTRA}",
            inside == SPECTRA,
            SPECTRA,
            seconds,
            control=f"furthest {worst:.2f} standard errors",
        ),
        row(
            "Wishart accountant, one eigenvalue: closed form against Gil-Pelaez (textbook and tilted), largest gap",
            "<= 1e-07",
            f"{furthest:.1e}",
            furthest <= 1e-7,
            count,
            time.perf_counter() - began,
        ),
    ]


def radius_rows() -> list[Row]:
    """The certified radius of the published release, exact against the published condition."""
    rows = []
    for epsilon in (1.0, 8.0):
        for k in DRAWS:
            began = time.perf_counter()
            exact = worst_case.radius(epsilon, DELTA, k)
            published = worst_case.published_radius(epsilon, DELTA, k)
            by_renyi = renyi.epsilon(worst_case.renyi(exact, k), DELTA)
            ratio = exact / published
            barred = epsilon == 1
            rows.append(
                row(
                    f"Published attention release, epsilon {epsilon:g}, delta 1e-5, k = {k}: radius beta/sqrt(eta), "
                    "exact over published condition",
                    ">= 3x" if barred else "reported",
                    f"{ratio:.2f}x ({exact:.3g} over {published:.3g})",
                    ratio >= 3 or not barred,
                    1,
                    time.perf_counter() - began,
                    control=f"Renyi gives epsilon {by_renyi:.3f} at the exact radius",
                )
            )
    return rows


def dp_sgd_rows() -> list[Row]:
    """Epsilon of DP-SGD by PLD against Opacus' PRV and RDP accountants."""
    rows = []
    for noise, rate, steps in SETTINGS:
        began = time.perf_counter()
        ours = accountant.epsilon_of(noise, rate, steps, DELTA)
        prv, rdp = PRVAccountant(), RDPAccountant()
        prv.history, rdp.history = [(noise, rate, steps)], [(noise, rate, steps)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs, loose = prv.get_epsilon(DELTA, eps_error=PRV_ERROR), rdp.get_epsilon(delta=DELTA)
        gap = abs(ours - theirs)
        rows.append(
            row(
                f"DP-SGD, noise {noise:g}, rate {rate:g}, {steps} steps, delta 1e-5: PLD against Opacus' PRV",
                "<= 0.001",
                f"{gap:.1e} (PLD {ours:.5f}, PRV {theirs:.5f})",
                gap <= 1e-3,
                1,
                time.perf_counter() - began,
                control=f"Opacus' RDP {loose:.4f}",
            )
        )
    return rows
