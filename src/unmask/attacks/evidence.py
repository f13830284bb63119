"""What one visible weight gradient says about a sentence: bases that its rows must explain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.public import Component, Place, PublicModel
from unmask.subspace import Subspace, row_space

AT_ONCE = 64
"""Sequences replayed in one forward pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Spans of a linear map's inputs, in H blocks, and how to compare sentences with them.

    For most maps there is one block, the whole input. The attention output map sees, per head,
    `A_h V_h`; while the sentence is shorter than a head is wide its rows span the same space as
    the values `V_h` do, so each head is a block of its own and the values' input is what counts.

    Args:
        model: the public model.
        place: whose input is computed.
        bases: (H, d_b, r) orthonormal columns, float64; unused columns are zero.
        lift: (H, d_b, d_in) and (H, d_b) of the map from the input to the blocks, or None.
        white: (H, d_b, d_b) metric applied to rows before they are compared, or None.
        differences: whether only differences to the first position are seen (a key gradient).
    """

    model: PublicModel
    place: Place
    bases: Tensor
    lift: tuple[Tensor, Tensor] | None = None
    white: Tensor | None = None
    differences: bool = False

    @property
    def rank(self) -> float:
        """Number of directions that a sentence must explain, over all blocks."""
        return float(self.bases.square().sum())

    def blocks(self, inputs: Tensor) -> Tensor:
        """Map inputs (..., d_in) of the place to blocks (H, ..., d_b)."""
        if self.lift is None:
            blocks = inputs[None]
        else:
            weight, bias = self.lift
            shape = (len(weight), *[1] * (inputs.dim() - 1), -1)
            blocks = torch.einsum("hbd,...d->h...b", weight, inputs) + bias.view(shape)
        return blocks if self.white is None else torch.einsum("h...b,hbc->h...c", blocks, self.white)

    def whitened(self, white: Tensor) -> "Evidence":
        """Return the same evidence in another metric: rows and bases times `white` (H, d_b, d_b)."""
        moved = torch.einsum("hbc,hbr->hcr", white.double(), self.bases)
        left, values, _ = torch.linalg.svd(moved, full_matrices=False)
        kept = values > 1e-9 * values[:, :1]
        return replace(self, white=white, bases=left * kept[:, None, :])

    def of_inputs(self, inputs: Tensor) -> Tensor:
        """Return the unexplained share (C,) of the bases for inputs (C, n, d_in) of the place."""
        if self.differences:
            inputs = inputs[:, 1:] - inputs[:, :1]
        rows = self.blocks(inputs).double()
        inside = torch.einsum("hcnb,hbr->hcnr", rows, self.bases)
        return 1 - captured(rows @ rows.transpose(-1, -2), inside) / self.rank

    def of_sequences(self, ids: Tensor) -> Tensor:
        """Return the unexplained share (C,) for sequences (C, n), by replaying them."""
        return torch.cat(
            [self.of_inputs(self.model.inputs(part, [self.place])[self.place.name]) for part in ids.split(AT_ONCE)]
        )


def captured(gram: Tensor, inside: Tensor, ridge: float = 1e-9) -> Tensor:
    """Return `sum_h ||L_h^{-1} inside_h||_F^2` with `gram = L L^T`: how much of the bases rows explain.

    Equal to `||Q^T B||_F^2` for an orthonormal basis Q of the rows' span, from products that are
    already at hand. Rows are scaled to length one first; a ridge keeps equal rows apart.

    Args:
        gram: (H, C, n, n) inner products of the rows.
        inside: (H, C, n, r) inner products of the rows with the bases.
        ridge: added to the diagonal; 1e-9 suits float64, 1e-5 float32.

    Returns:
        (C,), summed over the blocks; zero where the rows are dependent.
    """
    scale = gram.diagonal(dim1=-2, dim2=-1).clamp_min(1e-30).rsqrt()
    unit = gram * scale[..., :, None] * scale[..., None, :]
    factor, failed = torch.linalg.cholesky_ex(unit + ridge * torch.eye(gram.shape[-1], dtype=gram.dtype))
    solved = torch.linalg.solve_triangular(factor, inside * scale[..., None], upper=False)
    return solved.square().sum((-1, -2)).masked_fill(failed > 0, 0).sum(0)


def gather(
    model: PublicModel,
    place: Place,
    gradient: Tensor,
    *,
    differences: bool,
    dtype: str = "float32",
    noise: float = 0.0,
) -> Evidence:
    """Return the evidence in one weight gradient.

    Args:
        model: the public model.
        place: a visible weight.
        gradient: (d_out, d_in) its gradient.
        differences: whether it shows differences to the first position only.
        dtype: number format in which it was released.
        noise: deviation of Gaussian noise added to each entry.
    """
    space = row_space(gradient, dtype=dtype, noise=noise)
    if place.component is Component.ATTENTION_OUTPUT and place.heads > 1:
        values = _value_place(model.places, place)
        width = gradient.shape[1] // place.heads
        if values is not None and values.shape[0] == gradient.shape[1] and space.rank < width:
            return _by_head(model, place, values, gradient, width, dtype, noise)
    return Evidence(model=model, place=place, bases=space.basis[None], differences=differences)


def _by_head(
    model: PublicModel, place: Place, values: Place, gradient: Tensor, width: int, dtype: str, noise: float
) -> Evidence:
    spaces: list[Subspace] = [row_space(part, dtype=dtype, noise=noise) for part in gradient.split(width, dim=1)]
    bases = torch.zeros(place.heads, width, max(space.rank for space in spaces), dtype=torch.float64)
    for head, space in enumerate(spaces):
        bases[head, :, : space.rank] = space.basis
    weight, bias = model.affine(values)
    return Evidence(
        model=model,
        place=values,
        bases=bases,
        lift=(weight.view(place.heads, width, -1), bias.view(place.heads, width)),
    )


def _value_place(places: Sequence[Place], place: Place) -> Place | None:
    same = (p for p in places if p.layer == place.layer and p.component is Component.VALUE and len(p.shape) == 2)
    return next(same, None)
