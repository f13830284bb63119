"""Tell the hidden vectors behind an activation apart, though only the span of its outputs is known.

A linear map after `a_i = f(W x_i + b)` has a gradient whose rows span the a_i, in any mixture. What separates them
is that an activation such as GELU or ReLU hardly goes below zero: the a_i are the corners of what the span has
above f's least value. A linear program finds a corner from any direction; the corner gives a hidden vector to
begin from, and Newton's method on the distance to the span makes it exact or exposes it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

EXACT = 1e-8
"""Share of a found vector's activation outside the span: true ones reach 1e-12 in float32, others stop above 1e-5."""
SAME = 1e-2
FITTED, FAR = 5, 0.35
"""Steps towards a corner, and the misfit after them above which none of 60 corners led to a vector of the span."""
AGAIN = 4
"""Corners tried for one direction."""
POLISHED, EARLY, HOPELESS = 30, 6, 0.05
"""Steps towards the span, and the step after which a share still above HOPELESS is given up."""
PRIOR = 0.03
"""Ridge of the first guess, as a share of the mean variance that the weights give."""
ACTIVE = 0.3
"""Activation above which f can be inverted safely."""
GENTLE = 0.2, 1e-8, 5.0, 4  # damping after success, its least, after failure, tries


@dataclass(frozen=True, kw_only=True, eq=False)
class Unmixing:
    """The search for all x with f(W x + b) in a span.

    Args:
        basis: (d_hidden, r) orthonormal columns of the span, float64.
        weight: (d_hidden, d), W.
        bias: (d_hidden,), b.
        activation: f, on each entry by itself.
        centre: (d,) mean of hidden vectors of public sentences.
        generator: source of the directions.
        patience: corners in a row that may lead to nothing new before the search ends.
    """

    basis: Tensor
    weight: Tensor
    bias: Tensor
    activation: Activation
    centre: Tensor
    generator: torch.Generator
    patience: int = field(default=8)

    def run(self) -> Iterator[Tensor]:
        """Yield each hidden vector (d,), float32, once, until the rank is reached or patience ends."""
        found: list[Tensor] = []
        taken = torch.zeros(self.basis.shape[1], 0, dtype=torch.float64)
        corners, idle = Corners.of(self.basis, self.activation), 0
        while len(found) < self.basis.shape[1] and idle < self.patience:
            x = self._near_corner(corners, self._direction(taken))
            idle += 1
            if x is None or self.known(x, found):
                continue
            idle = 0
            found.append(x)
            own = self.basis.T @ self.activation(self.weight.double() @ x.double() + self.bias.double())
            taken = torch.cat([taken, own[:, None] / own.norm()], 1)
            yield x

    def _near_corner(self, corners: "Corners", direction: Tensor) -> Tensor | None:
        """Return the hidden vector near a corner in a direction or in the directions that its best fits have."""
        for _ in range(AGAIN):
            corner = corners.towards(direction)
            if corner is None:
                return None
            x, misfit = self._descend(self._first(corner), corner.float(), FITTED)
            if misfit < FAR:
                return self.from_guess(x)
            direction = self.basis.T @ self.activation(self.weight @ x + self.bias).double()
        return None

    def from_guess(self, guess: Tensor) -> Tensor | None:
        """Return the hidden vector that a guess (d,) leads to, or None."""
        x, share = self._descend(guess.float(), None, POLISHED)
        return x if share < EXACT else None

    def shares(self, guesses: Tensor, found: Sequence[Tensor]) -> Tensor:
        """Return how much of what each guess (C, d) adds to the vectors found lies outside the span: (C,).

        What activations have in common is in the span of the ones found, and says nothing.
        """
        known = torch.zeros(len(self.basis), 0)
        if found:
            known, _ = torch.linalg.qr(self.activation(torch.stack(list(found)) @ self.weight.T + self.bias).T)
        activations = self.activation(guesses @ self.weight.T + self.bias)
        total = activations.square().sum(1)
        outside = total - (activations @ self.basis.float()).square().sum(1)
        return outside / (total - (activations @ known).square().sum(1)).clamp_min(1e-30)

    @staticmethod
    def known(x: Tensor, found: Sequence[Tensor]) -> bool:
        """Return whether a vector is one of those found."""
        return any(float((x - y).norm() / x.norm()) < SAME for y in found)

    def _direction(self, taken: Tensor) -> Tensor:
        """Return a random direction in which no found activation lies: it does not lead to them again."""
        drawn = torch.randn(len(taken), generator=self.generator, dtype=torch.float64)
        if taken.shape[1]:
            basis, _ = torch.linalg.qr(taken)
            drawn = drawn - basis @ (basis.T @ drawn)
        return drawn

    def _first(self, corner: Tensor) -> Tensor:
        """Return the likeliest x given the entries of a corner where f can be inverted."""
        table = torch.linspace(ACTIVE / 2, max(30.0, 2 * float(corner.max())), 4096, dtype=torch.float64)
        active = corner > ACTIVE
        before = np.interp(corner[active].numpy(), self.activation(table).numpy(), table.numpy())
        W = self.weight[active].double()
        missing = torch.from_numpy(before) - self.bias[active] - W @ self.centre.double()
        gram = W @ W.T
        ridge = PRIOR * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        return (self.centre + W.T @ torch.linalg.solve(gram + ridge, missing)).float()

    def _descend(self, x: Tensor, target: Tensor | None, steps: int) -> tuple[Tensor, float]:
        """Levenberg-Marquardt on the distance to a target up to scale, or to the span if there is none.

        Returns:
            The vector and the squared distance as a share of its activation's squared norm.
        """
        basis, damping = self.basis.float(), 1e-2
        at = self._at(x, target, basis)
        for step in range(steps):
            _, slope, residual = at
            J = slope[:, None] * self.weight
            normal = J.T @ J
            if target is None:
                inside = basis.T @ J
                normal = normal - inside.T @ inside
            moved = self._step(x, at, J.T @ residual, normal, damping, target, basis)
            if moved is None:
                break
            x, at, damping = moved
            share = float(at[2].square().sum() / at[0].square().sum())
            if target is None and (share < EXACT * 1e-4 or (step >= EARLY and share > HOPELESS)):
                break
        return x, float(at[2].square().sum() / at[0].square().sum())

    def _step(
        self,
        x: Tensor,
        at: tuple[Tensor, Tensor, Tensor],
        gradient: Tensor,
        normal: Tensor,
        damping: float,
        target: Tensor | None,
        basis: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], float] | None:
        ease, least, tighten, tries = GENTLE
        scale, loss = normal.diagonal().mean(), at[2].square().sum()
        for _ in range(tries):
            damped = normal + damping * scale * torch.eye(len(normal))
            factor, failed = torch.linalg.cholesky_ex(damped)
            if not failed:
                there = x - torch.cholesky_solve(gradient[:, None], factor)[:, 0]
                after = self._at(there, target, basis)
                if after[2].square().sum() < loss:
                    return there, after, max(damping * ease, least)
            damping *= tighten
        return None

    def _at(self, x: Tensor, target: Tensor | None, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the activation, its slope and the residual at x."""
        z = (self.weight @ x + self.bias).requires_grad_()
        with torch.enable_grad():
            a = self.activation(z)
        (slope,) = torch.autograd.grad(a.sum(), z)
        a = a.detach()
        if target is None:
            return a, slope, a - basis @ (basis.T @ a)
        return a, slope, a - (a @ target) / (target @ target) * target


@dataclass(frozen=True, kw_only=True, eq=False)
class Corners:
    """The polytope of what a span has above an activation's least value.

    Args:
        basis: (d_hidden, r).
        floor: f's least value; at zero the polytope is a cone, which is cut off by the sum of the entries.
    """

    basis: NDArray[np.float64]
    floor: float

    @classmethod
    def of(cls, basis: Tensor, activation: Activation) -> "Corners":
        """Return the polytope of an activation."""
        return cls(basis=basis.numpy(), floor=floor(activation))

    def towards(self, direction: Tensor) -> Tensor | None:
        """Return the corner (d_hidden,) farthest along a direction (r,), or None if it is the origin or unbounded."""
        limits = np.full(len(self.basis), -self.floor)
        rows = -self.basis
        if self.floor > -1e-6:
            rows = np.vstack([rows, self.basis.sum(0)])
            limits = np.append(np.zeros(len(self.basis)), float(len(self.basis)))
        solved = linprog(-direction.numpy(), A_ub=rows, b_ub=limits, bounds=(None, None), method="highs")
        if solved.status != 0:
            return None
        corner = torch.from_numpy(self.basis @ solved.x)
        return corner if int((corner > ACTIVE).sum()) > 1 else None


def floor(activation: Activation) -> float:
    """Return the least value of an activation: -0.17 for GELU, -0.28 for SiLU, 0 for ReLU."""
    return float(activation(torch.linspace(-30, 30, 60001, dtype=torch.float64)).min())
