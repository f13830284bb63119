"""Multi-layer perceptrons trained on private images: in the usual way, or as their tangent at the start."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.distill.signals import gradient_kernel, signals
from unmask.errors import BadInput
from unmask.weights import Parametrisation, PublicMLP

Weights = dict[str, Tensor]


def initial(model: PublicMLP, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Weights:
    """Return weights before training: entries N(0, 1/d_in), or N(0, 1) in the NTK parametrisation; biases zero.

    Args:
        model: the architecture.
        generator: source of randomness.
        dtype: number format.
    """
    found: Weights = {}
    for name, shape in model.shapes().items():
        if len(shape) == 1:
            found[name] = torch.zeros(shape, dtype=dtype)
            continue
        spread = shape[1] ** -0.5 if model.parametrisation is Parametrisation.STANDARD else 1.0
        found[name] = spread * torch.randn(shape, generator=generator, dtype=dtype)
    return found


def targets(labels: Tensor, classes: int) -> Tensor:
    """Return what squared loss is trained on: (B, 1) of +-1 for two classes, else (B, C) one-hot minus 1/C.

    Args:
        labels: (B,) class indices.
        classes: number of classes.

    Raises:
        BadInput: if a label is no class.
    """
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise BadInput(
            "labels", [int(labels.min()), int(labels.max())], f"leave 0..{classes - 1}", "give class indices"
        )
    if classes == 2:
        return (2.0 * labels - 1)[:, None].double()
    return torch.nn.functional.one_hot(labels, classes).double() - 1 / classes


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Full-batch gradient descent on `mean_i ||f(x_i) - y_i||^2 / 2`.

    Args:
        learning_rate: step size.
        steps: most steps.
        loss: stop below this loss.
        momentum: heavy-ball momentum.
        weight_decay: coefficient of `||theta||^2 / 2`.

    Raises:
        BadInput: if a setting is out of range.
    """

    learning_rate: float
    steps: int = 100_000
    loss: float = field(default=1e-10)
    momentum: float = field(default=0.9)
    weight_decay: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.steps < 1 or not 0 <= self.momentum < 1 or self.weight_decay < 0:
            raise BadInput("descent", vars(self), "is out of range", "rate > 0, steps >= 1, momentum in [0, 1)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """The outcome of a training.

    Args:
        weights: after training.
        loss: `mean_i ||f(x_i) - y_i||^2 / 2` at the end, of the tangent model where that was trained.
        steps: steps taken; 0 for a closed form.
    """

    weights: Weights
    loss: float
    steps: int


def train(model: PublicMLP, start: Mapping[str, Tensor], inputs: Tensor, wanted: Tensor, descent: Descent) -> Trained:
    """Return the network after gradient descent from `start`.

    Args:
        model: the architecture.
        start: weights before training; they are not changed.
        inputs: (B, D).
        wanted: (B, C) targets.
        descent: settings.

    Raises:
        BadInput: if the loss is not finite.
    """
    weights = {name: tensor.clone() for name, tensor in start.items()}
    speed = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    loss, step = float("inf"), 0
    for step in range(descent.steps + 1):
        seen = signals(model, weights, inputs)
        error = seen.outputs - wanted
        loss = float(error.square().sum(1).mean()) / 2
        if not loss < float("inf"):
            raise BadInput("learning_rate", descent.learning_rate, "lets the loss diverge", "make it smaller")
        if loss < descent.loss or step == descent.steps:
            break
        for name, gradient in seen.combine(error / len(inputs)).items():
            speed[name].mul_(descent.momentum).add_(gradient + descent.weight_decay * weights[name])
            weights[name].sub_(descent.learning_rate * speed[name])
    return Trained(weights=weights, loss=loss, steps=step)


def train_tangent(model: PublicMLP, start: Mapping[str, Tensor], inputs: Tensor, wanted: Tensor) -> Trained:
    """Return where gradient descent on the tangent model at `start` ends, in closed form.

    With `J` the (B C, P) Jacobian at the start, `K = J J^T` and `r = y - f_0`, the change is
    `J^T K^{-1} r`: the least change that fits.

    Args:
        model: the architecture.
        start: weights before training.
        inputs: (B, D).
        wanted: (B, C) targets.

    Raises:
        BadInput: if the kernel is singular.
    """
    seen = signals(model, start, inputs)
    size = len(inputs) * model.outputs
    kernel = gradient_kernel(seen, seen).reshape(size, size)
    values, vectors = torch.linalg.eigh(kernel)
    if float(values[0]) <= 1e-13 * float(values[-1]):
        raise BadInput("inputs", f"{len(inputs)} rows", "have a singular kernel", "drop images that repeat")
    residual = vectors.T @ (wanted - seen.outputs).reshape(size)
    duals = vectors @ (residual / values)
    change = seen.combine(duals.reshape(len(inputs), model.outputs))
    left = vectors @ residual - kernel @ duals
    loss = float(left.square().sum()) / (2 * len(inputs))
    return Trained(weights={name: start[name] + change[name] for name in start}, loss=loss, steps=0)
