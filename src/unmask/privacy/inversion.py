"""A hockey-stick divergence from a moment generating function: Gil-Pelaez inversion on a tilted line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]
STEP, REACH = 1 / 32, 26.0
"""Step and half-length of the trapezoidal rule in v, where the distance along the contour is sinh(v)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """A privacy loss `L = offset + sum_j b_j c_j` under P1, with independent `c_j ~ chi^2_{k_j}`.

    For two centred Gaussians whose covariances have the relative eigenvalues `l_j`, seen k_j times,
    `L = -sum_j k_j/2 ln l_j + 1/2 sum_j (l_j - 1) c_j`, so
    `E[e^{zL}] = prod_j l_j^{-z k_j/2} (1 - z (l_j - 1))^{-k_j/2}`.

    Args:
        gaps: `x_j = l_j - 1` above -1 and not 0.
        degrees: `k_j`.
    """

    gaps: Array
    degrees: Array

    @property
    def offset(self) -> float:
        """What the loss is at c = 0."""
        return -0.5 * float(np.sum(self.degrees * np.log1p(self.gaps)))

    @property
    def mean(self) -> float:
        """Return the mean under P1, the Kullback-Leibler divergence."""
        return self.offset + 0.5 * float(np.sum(self.degrees * self.gaps))

    @property
    def pole(self) -> float:
        """The first z > 0 at which the moment is infinite."""
        largest = float(self.gaps.max(initial=0.0))
        return 1 / largest if largest > 0 else math.inf

    def log_moment(self, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return `ln E[e^{zL}]`, on the branch that is real on the real line."""
        terms = np.log(1 - z[:, None] * self.gaps) * self.degrees
        return z * self.offset - 0.5 * terms.sum(1)


def loss(gaps: Sequence[float] | Array, degrees: int) -> Loss:
    """Return the loss of eigenvalues `1 + gap`; a gap of 0 says nothing and is dropped."""
    x = np.asarray(gaps, dtype=np.float64).reshape(-1)
    k = np.full(x.shape, float(degrees))
    return Loss(gaps=x[x != 0], degrees=k[x != 0])


def hockey_stick(of: Loss, epsilon: float) -> float:
    """Return `delta(epsilon) = E[(1 - e^{epsilon - L})_+]` under P1, to about ten relative digits.

    `(1 - e^{epsilon - x})_+` has the two-sided Laplace transform `e^{-z epsilon} / (z (z+1))`, Re z > 0,
    hence `delta = 1/(2 pi i) int E[e^{zL}] e^{-z epsilon} / (z (z+1)) dz` over any line in 0 < Re z < pole.
    The Gil-Pelaez formula is the same integral pushed onto the line Re z = 0, once for each of the two
    probabilities, whose difference cancels when delta is small. Here the line goes through the saddle,
    where the integrand is positive and largest, so that small delta keeps its digits. The line is bent
    to a parabola towards the side on which `e^{z (offset - epsilon)}` decays, across no singularity,
    and the trapezoidal rule in v, `z - c = i s sinh(v) + ...`, converges exponentially.

    Args:
        of: the loss.
        epsilon: of any sign.
    """
    if not len(of.gaps):
        return -math.expm1(epsilon) if epsilon < 0 else 0.0
    if of.pole == math.inf and epsilon >= of.offset:
        return 0.0  # the loss never exceeds its offset
    if of.mean <= epsilon:
        return _line(of, epsilon, right=True)
    # Past the simple pole at 0, whose residue is 1, the same integral is delta - 1.
    return 1 - _line(of, epsilon, right=False)


def _line(of: Loss, epsilon: float, *, right: bool) -> float:
    """Return the integral over a contour through the saddle right of 0, or the negative one between -1 and 0."""
    c = _saddle(of, epsilon, right=right)
    curvature = 0.5 * np.sum(of.degrees * (of.gaps / (1 - c * of.gaps)) ** 2) + 1 / c**2 + 1 / (1 + c) ** 2
    scale = 1 / math.sqrt(curvature)
    lowest = float(of.gaps.min())
    room = min(of.pole - c, c - 1 / lowest if lowest < 0 else math.inf)
    v = np.arange(-REACH, REACH + STEP / 2, STEP)
    along = scale * np.sinh(v)
    # At a quarter of the curvature that would touch the cut, |1 - z x| grows with |v| all the way.
    bend = math.copysign(0.25 / room, epsilon - of.offset)
    z = c + 1j * along + bend * along**2
    slope = (1j + 2 * bend * along) * scale * np.cosh(v)
    height = _exponent(of, epsilon, np.array([c + 0j]), right)[0].real
    exponent = _exponent(of, epsilon, z, right)
    values = np.exp(np.maximum(exponent.real - height, -700)) * np.exp(1j * exponent.imag) * slope
    total = float(np.sum(values.imag)) * STEP / (2 * math.pi)
    return max(total, 0.0) * math.exp(height)


def _exponent(of: Loss, epsilon: float, z: NDArray[np.complex128], right: bool) -> NDArray[np.complex128]:
    return of.log_moment(z) - z * epsilon - np.log(z if right else -z) - np.log(1 + z)


def _saddle(of: Loss, epsilon: float, *, right: bool) -> float:
    """Return where the integrand is least on that piece of the real line; its logarithm is convex there."""

    def place(u: float) -> float:
        if not right:
            return -1 / (1 + math.exp(-u))
        return math.exp(u) if of.pole == math.inf else of.pole / (1 + math.exp(-u))

    def height(u: float) -> float:
        return float(_exponent(of, epsilon, np.array([place(u) + 0j]), right)[0].real)

    # Both ends are far away; nearer than e^-30 to an end, rounding would put z on the singularity.
    return place(float(minimize_scalar(height, bounds=(-60.0, 30.0), method="bounded", options={"xatol": 1e-6}).x))
