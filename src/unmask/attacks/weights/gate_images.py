"""From gates to images by linear algebra: least squares over neurons, then down through the layers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.weights.weight_span import column_space, rounding_deviation
from unmask.distill.signals import signals
from unmask.weights import WeightsObservation

TURNS = 10
"""Times at most that the open neurons of a lower layer are determined anew."""

OUTLIER = 10.0
"""A neuron whose row is missed by this multiple of the median is taken to have a wrong gate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """Inputs (N, D), duals (N,), the gates (K', N) they came from and those that they open, the replay residual."""

    inputs: Tensor
    duals: Tensor
    gates: Tensor
    opened: Tensor
    residual: float


def read(
    observation: WeightsObservation,
    factored: Tensor,
    kept: Tensor,
    gates: Tensor,
    whole: bool,
    spaces: list[Tensor],
) -> Read:
    """Return the images that gates give.

    Args:
        observation: the weights.
        factored: (K', d + 1) `[dW, db] / a` of the last hidden layer.
        kept: (K',) which neurons these are.
        gates: (K', N).
        whole: whether no column is missing.
        spaces: bases of `row_spaces`.
    """
    assert observation.start is not None
    model = observation.model
    # While columns are missing a constant stands in for their mean; the images are then approximate.
    design = gates if whole else torch.cat([gates, torch.ones(len(gates), 1, dtype=torch.float64)], 1)
    solved = torch.linalg.lstsq(design, factored).solution
    if whole:
        # One wrong gate spoils every image a little, and its own neuron's row much: such rows are left out.
        missed = (factored - design @ solved).norm(dim=1)
        trusted = missed <= OUTLIER * missed.median()
        if int(trusted.sum()) > 2 * gates.shape[1]:
            solved = torch.linalg.lstsq(design[trusted], factored[trusted]).solution
    rows = solved[: gates.shape[1]]
    h, duals = _split(observation, rows, gates, kept)
    for layer in range(model.layers - 3, -1, -1):
        h = _below(observation, layer, h, spaces[layer])
    start = {name: tensor.double() for name, tensor in observation.start.items()}
    seen = signals(model, start, h)
    replay, change = seen.combine(duals[:, None]), observation.tensors
    rest = sum(float((change[name] - replay[name]).square().sum()) for name in change)
    residual = (rest / sum(float(part.square().sum()) for part in change.values())) ** 0.5
    opened = (seen.entering[-1][:, kept] > 0).double().T
    return Read(inputs=h, duals=duals, gates=gates, opened=opened, residual=residual)


def _split(observation: WeightsObservation, rows: Tensor, gates: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return inputs and duals of rows `alpha_i [h_i, 1]`, or `alpha_i h_i` with the sign that opens the gates."""
    assert observation.start is not None
    if observation.model.bias:
        return rows[:, :-1] / rows[:, -1:], rows[:, -1]
    weight = observation.start[f"layer.{observation.model.layers - 2}.weight"].double()[kept]
    sign = ((rows @ weight.T) * (2 * gates.T - 1)).sum(1).sign()
    return rows * sign[:, None], sign


def row_spaces(observation: WeightsObservation, generator: torch.Generator) -> list[Tensor]:
    """Return for each layer below the last hidden one a basis (d_in, r) of what entered it."""
    assert observation.start is not None
    know, change, found = observation.knowledge, observation.tensors, []
    for layer in range(observation.model.layers - 2):
        name = f"layer.{layer}.weight"
        deviation = rounding_deviation(observation.start[name], observation.final[name], know.dtype, know.noise)
        found.append(column_space(change[name].T, deviation.T, generator))
    return found


def _below(observation: WeightsObservation, layer: int, h: Tensor, basis: Tensor) -> Tensor:
    """Return what entered a hidden layer (B, d_in) that gave the activations h (B, d_out).

    Rounding lifts activations of closed neurons above zero. The larger half of the positive ones is
    open for certain; what they give says which others are, until that no longer changes.
    """
    assert observation.start is not None
    model = observation.model
    projected = observation.start[f"layer.{layer}.weight"].double() @ basis * model.scale(layer)
    bias = observation.start[f"layer.{layer}.bias"].double() if model.bias else torch.zeros(h.shape[1]).double()
    found = []
    for row in h:
        active = row >= row[row > 0].median() if bool((row > 0).any()) else row > 0
        for _ in range(TURNS):
            inner = torch.linalg.lstsq(projected[active], (row - bias)[active, None]).solution[:, 0]
            before, active = active, projected @ inner + bias > 0
            if bool((active == before).all()):
                break
        found.append(basis @ inner)
    return torch.stack(found)
