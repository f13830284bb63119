"""The change of a perceptron's first layer, its column space, and the public weights in the same form."""

import torch
from torch import Tensor

from unmask.weights import WeightsObservation

GAP = 4.0
"""Ratio of neighbouring singular values from which the larger is taken for the last of the images."""


class FirstLayer:
    """The change `[dW, db]` (K, D + 1), its column space, and the public weights in the same form."""

    def __init__(self, observation: WeightsObservation) -> None:
        assert observation.start is not None
        model, names = observation.model, ("layer.0.weight", "layer.0.bias")
        scale = model.scale(0)
        start = [observation.start[name].double() for name in names]
        final = [observation.final[name].double() for name in names]
        # A bias that is zero at the start carries little rounding of its own.
        self.change = _joined(final[0] - start[0], (final[1] - start[1]) * scale)
        self.columns, values, right, self.count = spectrum(self.change, observation.knowledge.count)
        # A null vector's value is at least the noise beside a typical image's part of the change.
        self.noise = float(values[-1] / values[self.count // 2])
        values = values[: self.count]
        self.rows = values[:, None] * right
        self.weights, self.ended = (_joined(w * scale, b) for w, b in (start, final))
        self.size = _returning(observation)

    def missing(self, found: Tensor) -> Tensor:
        """Return an orthonormal basis (m, D + 1) of the row space that found columns (r, f) leave."""
        rest = torch.linalg.qr(found, mode="complete")[0][:, found.shape[1] :] if found.shape[1] else None
        rows = self.rows if rest is None else rest.T @ self.rows
        return torch.linalg.svd(rows, full_matrices=False)[2]

    def vector(self, row: Tensor) -> Tensor:
        """Return the null vector (r,) of the neurons that an image `[x, 1]`, up to a factor, leaves closed."""
        image = row / row[-1]
        closed = (self.weights @ image < 0) & (self.ended @ image < 0)
        return torch.linalg.svd(self.columns[closed], full_matrices=False)[2][-1]


def spectrum(change: Tensor, count: int | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return the singular vectors and values that images explain, and how many these are.

    Every step of a training rounds, so that the noise of the change is larger than that of its number
    format and of an unknown size. Its singular values lie close together: the images end at the
    largest ratio of neighbours, if that exceeds `GAP`.

    Args:
        change: (K, D).
        count: their number, if it is known.
    """
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    half = len(values) // 2
    if count is None:
        floor = 2.0**-48 * float(values[0])
        ratios = values[:half].clamp_min(floor) / values[1 : half + 1].clamp_min(floor)
        count = int(ratios.argmax()) + 1 if float(ratios.max()) > GAP else len(values)
    return left[:, :count], values[: count + 1], right[:count], count


def _returning(observation: WeightsObservation) -> Tensor:
    """Return the typical size (K,) of what comes back to each neuron of the first layer, from the public weights."""
    assert observation.start is not None
    behind = torch.ones(observation.model.outputs, dtype=torch.float64)
    for layer in range(observation.model.layers - 1, 0, -1):
        behind = behind @ observation.start[f"layer.{layer}.weight"].double().square()
    size = behind.sqrt()
    return size.clamp_min(0.05 * float(size.median()))


def _joined(weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([weight, bias[:, None]], 1)
