"""Read training images from an infinitely wide network: one eigenvalue problem and no search."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.weights.kernel_span import input_span
from unmask.attacks.weights.point_scale import scales
from unmask.distill.kernel_machine import FunctionObservation, KernelMachine


@dataclass(frozen=True, kw_only=True)
class KernelInputs:
    """Diagonalise the curvature of a trained infinitely wide network at two places at once.

    The kernel is a function of `x . z` and of norms. Let S be the span of the images (`input_span`) and
    `z(u) = u + w`, with u in S and w at right angles to it, of such a length that `|z| = radius`. Then

        (grad change)(z) restricted to S, less its multiple of u, is G(u) = sum_i alpha_i k'_i(x_i . u) x_i

    and its Jacobian is `X^T diag(alpha_i k''_i(x_i . u)) X`. Of two such matrices the pencil `J_1 - t J_2`
    is diagonalised by `X^-1`: its left eigenvectors are the images up to a factor, as in the
    simultaneous diagonalisation of Leurgans, Ross and Abel (1993). The factor follows from how G varies
    along each image (`scales`); without biases the kernel is homogeneous and the factor is free, and
    the largest pixel is set to 1. The loss is the relative error of the guess's replay at fresh places.

    Args:
        name: registered name.
        source: publication.
        radius: length of the inputs asked for, as root mean square of their pixels.
        queries: places at which the guess is replayed.
    """

    name: str = "kernel-inputs"
    source: str = "threat model: Loo et al., ICLR 2024, arXiv 2302.01428; the eigenvalue problem is this project's"
    radius: float = 0.5
    queries: int = 500

    def run(self, observation: FunctionObservation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield one guess, or say why there is none."""
        size = prod(observation.shape)
        length = self.radius * size**0.5
        span = input_span(observation.change, size, length, generator)
        if span is None or span.shape[1] == 0:
            note = "the function did not change" if span is not None else "as many images as a third of the pixels"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
            return
        field = _Field(observation, span, length, generator)
        count = span.shape[1]
        places = torch.randn(2, count, generator=generator, dtype=torch.float64)
        places = 0.7 * length * places / places.norm(dim=1, keepdim=True)
        first, second = (field.jacobian(u) for u in places)
        vectors = torch.linalg.eig(torch.linalg.solve(second, first))[1].real
        directions = torch.linalg.inv(vectors)
        directions = directions / directions.norm(dim=1, keepdim=True)
        inputs, duals = scales(observation.kernel, field, directions, length, size)
        machine = KernelMachine(kernel=observation.kernel, points=inputs @ span.T, duals=duals[:, None])
        fresh = torch.randn(self.queries, size, generator=generator, dtype=torch.float64)
        fresh = length * fresh / fresh.norm(dim=1, keepdim=True)
        seen = observation.change(fresh)
        residual = float((machine(fresh) - seen).norm() / seen.norm())
        order = duals.abs().argsort(descending=True)
        images = machine.points[order].unflatten(1, observation.shape)
        if not observation.kernel.bias:
            images = images / images.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
        yield Reconstruction(
            tokens=(),
            images=images.clamp(0, 1),
            loss=residual,
            residual=residual,
            note=f"{count} images (rank of the gradients), all from one eigenvalue problem",
            done=True,
        )


class _Field:
    """`G(u)` in coordinates of the span, and its Jacobian."""

    def __init__(
        self, observation: FunctionObservation, span: Tensor, length: float, generator: torch.Generator
    ) -> None:
        self._change, self._span, self._length = observation.change, span, length
        away = torch.randn(len(span), generator=generator, dtype=torch.float64)
        away = away - span @ (span.T @ away)
        self._away = away / away.norm()

    def __call__(self, u: Tensor) -> Tensor:
        """Return `G(u)` (B, r) of coordinates (B, r)."""
        height = (self._length**2 - u.square().sum(1, keepdim=True)).sqrt()
        z = u @ self._span.T + height * self._away
        if not z.requires_grad:
            z = z.requires_grad_()
        grad = torch.autograd.grad(self._change(z).sum(), z, create_graph=True)[0]
        # Beside images the gradient holds a multiple of z, which its part along `away` tells.
        return grad @ self._span - (grad @ self._away)[:, None] / height * u

    def jacobian(self, u: Tensor) -> Tensor:
        """Return `dG / du` (r, r), symmetric as it must be, at one place (r,)."""
        found = torch.autograd.functional.jacobian(lambda v: self(v[None])[0], u)
        return (found + found.T) / 2
