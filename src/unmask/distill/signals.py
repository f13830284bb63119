"""Gradients of a multi-layer perceptron as outer products: inputs of layers times signals from behind.

For one image and one output, `d f / d W_l = s_l delta_l h_{l-1}^T` and `d f / d b_l = delta_l`, with
`s_l` the layer's scale. Sums over images are products of matrices and inner products of gradients are
products of small kernels, so no vector of parameter size is ever formed per image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.weights import Activation, PublicMLP, slope

Gate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pre-activations to activations and their derivatives."""


def exact_gate(activation: Activation) -> Gate:
    """Return the activation with its true derivative."""
    model = PublicMLP(shape=(1, 1, 1), hidden=(1,), activation=activation)

    def gate(z: Tensor) -> tuple[Tensor, Tensor]:
        return model.act(z), slope(activation, z)

    return gate


def softplus_gate(beta: float) -> Gate:
    """Return `softplus(beta z) / beta` in place of ReLU, with its derivative `sigmoid(beta z)`.

    Args:
        beta: sharpness; ReLU at infinity.
    """

    def gate(z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.softplus(z, beta=beta), torch.sigmoid(beta * z)

    return gate


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """What enters each layer and what comes back to it.

    Args:
        entering: per layer, (B, d_in) inputs `h_{l-1}`.
        returning: per layer, (B, C, d_out) derivatives of each output by the layer's pre-activations.
        outputs: (B, C).
        scales: per layer, the factor in front of `W h`.
        bias: whether layers have biases.
    """

    entering: tuple[Tensor, ...]
    returning: tuple[Tensor, ...]
    outputs: Tensor
    scales: tuple[float, ...]
    bias: bool

    def combine(self, duals: Tensor) -> dict[str, Tensor]:
        """Return `sum_i sum_c duals_ic grad f_c(x_i)` by parameter name.

        Args:
            duals: (B, C).
        """
        found: dict[str, Tensor] = {}
        for layer, (h, delta) in enumerate(zip(self.entering, self.returning, strict=True)):
            behind = torch.einsum("bc,bcd->bd", duals, delta)
            found[f"layer.{layer}.weight"] = self.scales[layer] * behind.T @ h
            if self.bias:
                found[f"layer.{layer}.bias"] = behind.sum(0)
        return found

    def project(self, change: Mapping[str, Tensor]) -> Tensor:
        """Return `<change, grad f_c(x_i)>` as (B, C).

        Args:
            change: one tensor per parameter.
        """
        total = torch.zeros_like(self.outputs)
        for layer, (h, delta) in enumerate(zip(self.entering, self.returning, strict=True)):
            forward = self.scales[layer] * h @ change[f"layer.{layer}.weight"].T
            if self.bias:
                forward = forward + change[f"layer.{layer}.bias"]
            total = total + torch.einsum("bd,bcd->bc", forward, delta)
        return total


def signals(model: PublicMLP, parameters: Mapping[str, Tensor], inputs: Tensor, gate: Gate | None = None) -> Signals:
    """Return inputs and returning signals of every layer; gradients flow to the inputs.

    Args:
        model: the architecture.
        parameters: its weights.
        inputs: (B, D).
        gate: the activation and its derivative, or None for the model's own.
    """
    gate = gate or exact_gate(model.activation)
    entering, slopes, h = [], [], inputs
    for layer in range(model.layers):
        entering.append(h)
        z = h @ parameters[f"layer.{layer}.weight"].T * model.scale(layer)
        if model.bias:
            z = z + parameters[f"layer.{layer}.bias"]
        if layer == model.layers - 1:
            h = z
        else:
            h, derivative = gate(z)
            slopes.append(derivative)
    delta = torch.eye(model.outputs, dtype=inputs.dtype).expand(len(inputs), -1, -1)
    returning = [delta]
    for layer in range(model.layers - 1, 0, -1):
        delta = (delta @ parameters[f"layer.{layer}.weight"]) * model.scale(layer) * slopes[layer - 1][:, None]
        returning.append(delta)
    scales = tuple(model.scale(layer) for layer in range(model.layers))
    return Signals(
        entering=tuple(entering), returning=tuple(returning[::-1]), outputs=h, scales=scales, bias=model.bias
    )


def gradient_kernel(left: Signals, right: Signals) -> Tensor:
    """Return `<grad f_c(x_i), grad f_e(z_j)>` as (B, C, P, E), the empirical neural tangent kernel.

    `sum_l (delta_l(x_i)_c . delta_l(z_j)_e) (s_l^2 h_{l-1}(x_i) . h_{l-1}(z_j) + [bias])`.

    Args:
        left: of B inputs.
        right: of P inputs.
    """
    total: Tensor | None = None
    for layer, scale in enumerate(left.scales):
        behind = torch.einsum("bcd,ped->bcpe", left.returning[layer], right.returning[layer])
        before = scale**2 * left.entering[layer] @ right.entering[layer].T + float(left.bias)
        part = behind * before[:, None, :, None]
        total = part if total is None else total + part
    assert total is not None
    return total
