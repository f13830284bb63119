"""The last missing gate column: what is left of the change has rank one, and its only row is an image."""

import torch
from torch import Tensor

from unmask.weights import WeightsObservation

PROOF = 1e-3
"""A column proves itself if at most this share of its square lies outside the column space."""


def last_column(
    observation: WeightsObservation, factored: Tensor, kept: Tensor, gates: Tensor, basis: Tensor
) -> Tensor | None:
    """Return the one gate column (K',) that is missing, or None if no image gives a column of the column space.

    With `U = G diag(alpha) [H, 1]` and all columns of G but g known, `(I - P) U = (I - P) g alpha [h, 1]`,
    P the projection on the known columns. Its right singular vector is `[h, 1]` up to a factor, which
    the last entry gives; the public weights say which neurons `h` opens. Without biases the factor's
    sign is not known and both are tried.

    Args:
        observation: the weights.
        factored: (K', d + 1) `[dW, db] / a` of the last hidden layer.
        kept: (K',) which neurons these are.
        gates: (K', r - 1) known columns.
        basis: (K', r) orthonormal basis of the column space.
    """
    assert observation.start is not None
    model, layer = observation.model, observation.model.layers - 2
    # Projected inside the column space, so that what rounding adds outside of it stays out.
    inner = torch.linalg.qr(basis.T @ gates, mode="complete")[0][:, -1]
    row = (basis @ inner) @ factored
    weight = observation.start[f"layer.{layer}.weight"].double()[kept] * model.scale(layer)
    if model.bias:
        opened = [weight @ (row[:-1] / row[-1]) + observation.start[f"layer.{layer}.bias"].double()[kept] > 0]
    else:
        opened = [weight @ row > 0, weight @ row < 0]
    columns = torch.stack(opened, 1).double()
    outside = (columns - basis @ (basis.T @ columns)).square().sum(0) / columns.square().sum(0).clamp_min(1)
    best = int(outside.argmin())
    return columns[:, best] if float(outside[best]) < PROOF and bool(columns[:, best].any()) else None
