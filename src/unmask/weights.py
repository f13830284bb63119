"""Trained weights: what everyone knows about a multi-layer perceptron, and what an adversary sees of its training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from unmask.errors import BadInput
from unmask.vision import Images


class Activation(StrEnum):
    """The nonlinearity between two layers."""

    RELU = "relu"
    GELU = "gelu"
    TANH = "tanh"


class Parametrisation(StrEnum):
    """Where the scale of a layer sits.

    `STANDARD`: `z = W h + b`, entries of W drawn with variance `1 / d_in` (LeCun).
    `NTK`: `z = W h / sqrt(d_in) + b`, entries of W drawn with variance 1 (Jacot et al. 2018).
    """

    STANDARD = "standard"
    NTK = "ntk"


_FUNCTIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    Activation.RELU: torch.relu,
    Activation.GELU: torch.nn.functional.gelu,
    Activation.TANH: torch.tanh,
}


def slope(activation: Activation, z: Tensor) -> Tensor:
    """Return the derivative of an activation; of ReLU at zero it is zero, as in torch.

    Args:
        activation: which one.
        z: where; any shape.
    """
    if activation is Activation.RELU:
        return (z > 0).to(z.dtype)
    if activation is Activation.TANH:
        return 1 - torch.tanh(z).square()
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return (1 + torch.erf(z / math.sqrt(2))) / 2 + z * density


@dataclass(frozen=True, kw_only=True, eq=False)
class PublicMLP:
    """A multi-layer perceptron as a function of its parameters: `layer.0.weight` (d_out, d_in), `layer.0.bias`, ...

    Args:
        shape: channels, height and width of an image.
        hidden: widths of the hidden layers, at least one.
        outputs: number of outputs; 1 for binary labels of +-1 and for regression.
        activation: between two layers.
        parametrisation: where the scale of a layer sits.
        bias: whether layers have biases.
        offset: (D,) public vector that is subtracted from the pixels, such as a mean image, or None.

    Raises:
        BadInput: if a size is not positive.

    Example:
        >>> PublicMLP(shape=(1, 2, 2), hidden=(3,)).sizes
        (4, 3, 1)
    """

    shape: tuple[int, int, int]
    hidden: tuple[int, ...]
    outputs: int = 1
    activation: Activation = Activation.RELU
    parametrisation: Parametrisation = Parametrisation.STANDARD
    bias: bool = True
    offset: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.hidden or min(*self.shape, *self.hidden, self.outputs) < 1:
            raise BadInput("sizes", self.sizes, "hold a zero or no hidden layer", "give positive sizes")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels, hidden widths and outputs."""
        return (math.prod(self.shape), *self.hidden, self.outputs)

    @property
    def layers(self) -> int:
        """Number of weight matrices."""
        return len(self.sizes) - 1

    def act(self, z: Tensor) -> Tensor:
        """Return the activation of pre-activations of any shape."""
        return _FUNCTIONS[self.activation](z)

    def scale(self, layer: int) -> float:
        """Return the factor in front of `W h`: 1, or `1 / sqrt(d_in)` in the NTK parametrisation."""
        return 1.0 if self.parametrisation is Parametrisation.STANDARD else self.sizes[layer] ** -0.5

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter, by name."""
        found: dict[str, tuple[int, ...]] = {}
        for layer, (d_in, d_out) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            found[f"layer.{layer}.weight"] = (d_out, d_in)
            if self.bias:
                found[f"layer.{layer}.bias"] = (d_out,)
        return found

    def inputs(self, images: Tensor) -> Tensor:
        """Return what the first layer reads: pixels (B, channels, height, width) as (B, D), less the offset."""
        flat = images.flatten(1)
        return flat if self.offset is None else flat - self.offset.to(flat.dtype)

    def images(self, inputs: Tensor) -> Tensor:
        """Return the images (B, channels, height, width) of inputs (B, D); the inverse of `inputs`."""
        flat = inputs if self.offset is None else inputs + self.offset.to(inputs.dtype)
        return flat.unflatten(1, self.shape)

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the outputs (B, C) of inputs (B, D)."""
        h = inputs
        for layer in range(self.layers):
            h = h @ parameters[f"layer.{layer}.weight"].T * self.scale(layer)
            if self.bias:
                h = h + parameters[f"layer.{layer}.bias"]
            h = self.act(h) if layer < self.layers - 1 else h
        return h


@dataclass(frozen=True, kw_only=True)
class WeightsKnowledge:
    """The adversary's knowledge beside the weights: the threat model, field by field.

    Args:
        count: number of training images, or None if unknown; then it is estimated from a rank.
        start: whether the weights before training are known.
        linearised: whether the network was trained as its tangent at the start.
        dtype: the number format in which the weights were released.
        noise: deviation of Gaussian noise added to each weight.
    """

    count: int | None = field(default=None)
    start: bool = field(default=True)
    linearised: bool = field(default=False)
    dtype: str = field(default="float32")
    noise: float = field(default=0.0)

    @property
    def exact(self) -> bool:
        """Whether a replay of the true images must reproduce the weight change to rounding."""
        return self.start and self.linearised and self.noise == 0 and self.dtype in ("float32", "float64")

    def sentences(self) -> tuple[str, ...]:
        """Return the threat model in words, one sentence per fact."""
        return (
            "The adversary knows the architecture and the weights after training.",
            f"The weights before training are {'known' if self.start else 'unknown'}.",
            f"The number of training images is {'unknown' if self.count is None else self.count}.",
            "The network was trained " + ("as its tangent at the start." if self.linearised else "in the usual way."),
            f"Released as {self.dtype}"
            + (f", Gaussian noise of deviation {self.noise:g} on each weight" if self.noise else "")
            + ".",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightsObservation:
    """The weights of one training run plus public knowledge. It has no path back to the images.

    Args:
        start: the weights before training by name, or None.
        final: the weights after training.
        model: the public architecture.
        knowledge: what else the adversary knows.

    Raises:
        BadInput: if weights are of another architecture, not finite, or did not change.
    """

    start: Mapping[str, Tensor] | None
    final: Mapping[str, Tensor]
    model: PublicMLP
    knowledge: WeightsKnowledge

    def __post_init__(self) -> None:
        for argument, weights in (("start", self.start), ("final", self.final)):
            if weights is not None:
                _check(argument, weights, self.model)
        if self.knowledge.start != (self.start is not None):
            raise BadInput("knowledge", self.knowledge.start, "contradicts the weights", "set start as it is")
        if self.start is not None and not any(bool(delta.any()) for delta in self.tensors.values()):
            raise BadInput("final", "weights", "equal the weights before training", "train, or give the right file")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The weight change in float64 where the start is known, else the final weights, by name."""
        if self.start is None:
            return {name: tensor.double() for name, tensor in self.final.items()}
        return {name: tensor.double() - self.start[name].double() for name, tensor in self.final.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightsVictim:
    """One party that publishes weights after training them on its images.

    Args:
        model: the public architecture.
        start: weights before training.
        final: weights after it.
        secret: the training images, or None where only the weights are known.
    """

    model: PublicMLP
    start: Mapping[str, Tensor]
    final: Mapping[str, Tensor]
    secret: Images | None


def _check(argument: str, weights: Mapping[str, Tensor], model: PublicMLP) -> None:
    shapes = model.shapes()
    if set(weights) != set(shapes):
        odd = sorted(set(weights) ^ set(shapes))
        raise BadInput(argument, odd, "are names of another architecture", f"give {', '.join(shapes)}")
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            raise BadInput(argument, tuple(weights[name].shape), f"is no shape of {name}", f"give {shape}")
        if not bool(torch.isfinite(weights[name]).all()):
            raise BadInput(argument, name, "holds numbers that are not finite", "give weights of a finished training")
