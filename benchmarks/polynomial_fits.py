"""The rows of the approximations: how near to the best, and whether every certificate holds."""

import time
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, softmax

from benchmarks.rows import Row, Value, versions
from unmask.poly.certify import certificate
from unmask.poly.composite import gelu, relu, sign
from unmask.poly.fits import interpolated, minimax
from unmask.poly.goldschmidt import Power, goldschmidt, plain_steps
from unmask.poly.polynomial import Array
from unmask.poly.program import programs
from unmask.poly.softmax import exponential, normalise_and_square, power_softmax
from unmask.poly.targets import TARGETS, Interval

COMMAND = "make bench TOPIC=polynomial"
DEGREES = (1, 2, 3, 4, 5, 7, 8, 11, 15, 23, 31, 47, 63)
LINE: tuple[Interval, ...] = ((-3.0, 3.0), (-8.0, 8.0), (-20.0, 20.0), (-3.0, 5.0))
ABOVE: tuple[Interval, ...] = ((0.1, 10.0), (1.0, 30.0), (1.0, 300.0))
RESOLVED = 1e-10
"""Fits with a smaller error, relative to the function's size, are left out: float64 cannot show a factor of 1.05."""
POINTS = 400_001


def row(setting: str, bar: Value, measured: Value, holds: bool, n: int, began: float, **more: str) -> Row:
    """Return a row of this topic."""
    return Row(
        setting=setting,
        bar=bar,
        measured=measured,
        unit=more.get("unit", ""),
        holds=bool(holds),
        control=more.get("control"),
        n=n,
        seconds=round(time.perf_counter() - began, 1),
        command=COMMAND,
        versions=versions(("unmask", "numpy", "scipy")),
        reason=more.get("reason", ""),
    )


def rows() -> list[Row]:
    """Every function on several intervals and degrees: certified error over the least that is possible."""
    found = []
    for name, wanted in TARGETS.items():
        began = time.perf_counter()
        ratios, peers, left, broken = [], [], 0, 0
        intervals = ABOVE if wanted.above == 0 else LINE
        for interval in intervals:
            x = np.linspace(*interval, 20_001)
            size = float(np.abs(wanted(x)).max())
            for degree in DEGREES:
                best = minimax(name, interval, degree)
                if best.error < RESOLVED * size:
                    left += 1
                    continue
                bounds = certificate(best, wanted)
                ratios.append(bounds.ratio)
                broken += float(np.abs(wanted(x) - best(x)).max()) > bounds.upper
                peers.append(interpolated(name, interval, degree).error / bounds.lower)
        ranges = ", ".join(f"[{low:g}, {high:g}]" for low, high in intervals)
        found.append(
            row(
                f"Best uniform fits of {name} on {ranges}, degrees 1 to 63: certified error over the de la "
                "Vallee-Poussin bound, largest",
                "<= 1.05",
                round(max(ratios), 5),
                max(ratios) <= 1.05 and not broken,
                len(ratios),
                began,
                unit="times",
                control=f"Chebyshev interpolation {max(peers):.2f}",
                reason=f"{left} fits below 1e-10 of the function are left out" if left else "",
            )
        )
    return found


def iteration_rows() -> list[Row]:
    """Iterations and compositions: certified against the largest of many samples, steps, levels, products."""
    return [*_goldschmidt_rows(), *_composite_rows(), *_row_rows()]


def _goldschmidt_rows() -> list[Row]:
    # Power, interval, and the steps that THOR's code takes there to 1e-3.
    cases = (
        (Power.INVERSE, (2.0**-11, 1.0), 8),
        (Power.INVERSE, (2.0**-18, 1.0), 12),
        (Power.INVERSE_SQRT, (0.15, 10.0), 5),
        (Power.INVERSE_SQRT, (0.2, 150.0), 6),
        (Power.INVERSE_SQRT, (0.75, 2500.0), 7),
        (Power.INVERSE_SQRT, (1.0, 1e9), None),
    )
    found = []
    for power, interval, published in cases:
        began = time.perf_counter()
        made = goldschmidt(power, interval, 1e-3)
        x = np.unique(np.concatenate([np.geomspace(*interval, POINTS), np.linspace(*interval, POINTS)]))
        x = x.clip(*interval)
        relative = float(np.abs(made(x) * (x if power is Power.INVERSE else np.sqrt(x)) - 1).max())
        steps, plain = len(made.steps), plain_steps(power, made.floor, 1e-3)
        found.append(
            row(
                f"Relaxed Goldschmidt {power.value} on [{interval[0]:.3g}, {interval[1]:.3g}] to 1e-3 relative",
                "reported" if published is None else f"<= {published} steps, no sample above the certificate",
                f"{steps} steps, certified {made.error:.1e}, largest {relative:.1e}; depth {made.depth}, "
                f"{made.products} products",
                relative <= made.error and (published is None or steps <= published),
                len(x),
                began,
                control=f"{plain} steps without relaxation",
            )
        )
    return found


def _composite_rows() -> list[Row]:
    found = []
    for epsilon in (1e-2, 2.0**-10, 1e-4):
        began = time.perf_counter()
        made = sign(epsilon, epsilon)
        x = np.linspace(epsilon, 1, POINTS)
        largest = float(np.abs(made(x) - 1).max())
        degrees = " of ".join(str(stage.degree) for stage in reversed(made.stages))
        found.append(
            row(
                f"Composite sign within {epsilon:.3g} for {epsilon:.3g} <= |x| <= 1",
                "no sample above the certificate",
                f"degrees {degrees}: certified {made.error:.2e}, largest {largest:.2e}; depth {made.depth}, "
                f"{made.products} products",
                largest <= made.error <= epsilon,
                POINTS,
                began,
            )
        )
    gates: tuple[tuple[str, Callable[..., object], Callable[[Array], Array]], ...] = (
        ("relu", relu, lambda x: np.maximum(x, 0)),
        ("gelu", gelu, lambda x: x * ndtr(x)),
    )
    for name, make, exact in gates:
        for radius, error in ((20.0, 0.1), (70.0, 0.1), (70.0, 0.01)):
            began = time.perf_counter()
            gate = make(radius, error)
            x = np.linspace(-radius, radius, POINTS)
            largest = float(np.abs(gate(x) - exact(x)).max())
            found.append(
                row(
                    f"{name} on +-{radius:g} from composite signs, within {error:g}",
                    "no sample above the certificate",
                    f"certified {gate.error:.2e}, largest {largest:.2e}; depth {gate.depth}, {gate.products} products",
                    largest <= gate.error <= error,
                    POINTS,
                    began,
                    control=_single(name, radius, error),
                )
            )
    return found


def _single(name: str, radius: float, error: float) -> str:
    degree = 2
    while degree <= 510:
        fit = minimax(name, (-radius, radius), degree)
        if fit.error <= error:
            costs = ", ".join(f"depth {each.depth} with {each.products} products" for each in programs(fit))
            return f"one polynomial of degree {degree}: {costs}"
        degree += 2 if degree < 64 else 16
    return "no polynomial up to degree 510"


def _row_rows() -> list[Row]:
    rng, found = np.random.default_rng(0), []
    for interval in ((-8.0, 0.0), (-27.2, 21.7)):
        began = time.perf_counter()
        made = exponential(interval, 1e-3)
        x = np.linspace(*interval, POINTS)
        largest = float(np.abs(made(x) / np.exp(x) - 1).max())
        found.append(
            row(
                f"Exponential by squaring on [{interval[0]:g}, {interval[1]:g}] to 1e-3 relative",
                "no sample above the certificate",
                f"degree {made.inner.degree}, {made.squarings} squarings: certified {made.error:.1e}, largest "
                f"{largest:.1e}; depth {made.depth}, {made.products} products",
                largest <= made.error <= 1e-3,
                POINTS,
                began,
            )
        )
    x = np.concatenate([rng.uniform(-8, 8, (5000, 64)), np.full((1, 64), 8.0), np.full((1, 64), -8.0)])
    for rounds in (0, 1, 2, 3):
        began = time.perf_counter()
        soft = normalise_and_square((-8.0, 8.0), 64, 1e-2, rounds=rounds)
        largest = float(np.abs(soft(x) / softmax(x, axis=-1) - 1).max())
        found.append(
            row(
                f"Normalise-and-square soft-max, 64 scores in +-8, {rounds} rounds, to 1e-2 of each entry",
                "no sample above the certificate",
                f"certified {soft.error:.1e}, largest {largest:.1e}; depth {soft.depth}, {soft.products} products",
                largest <= soft.error <= 1e-2,
                x.size,
                began,
            )
        )
    began = time.perf_counter()
    power = power_softmax(8.0, 1e-2)
    largest = float(np.abs(power(x) / power.exact(x) - 1).max())
    found.append(
        row(
            "PowerSoftmax, p = 4, epsilon 1e-3, scores in +-8, division to 1e-2",
            "no sample above the certificate",
            f"certified {power.error:.1e}, largest {largest:.1e}; depth {power.depth}, {power.products} products",
            largest <= power.error * (1 + 1e-9) <= 1e-2,
            x.size,
            began,
        )
    )
    return found
