"""What the published attacks share: candidates whose weighted gradients have to add up to given tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.weights.first_layer_change import spectrum
from unmask.distill.signals import Gate
from unmask.weights import PublicMLP, WeightsObservation

Tensors = Mapping[str, Tensor]


def surrogate_gate(beta: float) -> Gate:
    """Return ReLU whose derivative, wherever one is taken, is `sigmoid(beta z)`.

    Args:
        beta: sharpness of the derivative.
    """

    def gate(z: Tensor) -> tuple[Tensor, Tensor]:
        smooth = F.softplus(beta * z) / beta
        return torch.relu(z).detach() + smooth - smooth.detach(), torch.sigmoid(beta * z)

    return gate


def gap(sums: Tensors, wanted: Tensors) -> Tensor:
    """Return `||sums - wanted||^2` over all tensors.

    Args:
        sums: one tensor per parameter.
        wanted: the same names and shapes.
    """
    return squared({name: sums[name] - wanted[name] for name in wanted})


def squared(tensors: Tensors) -> Tensor:
    """Return the squared norm of all tensors together.

    Args:
        tensors: by name.
    """
    return torch.stack([tensor.square().sum() for tensor in tensors.values()]).sum()


def outside_box(model: PublicMLP, inputs: Tensor) -> Tensor:
    """Return the mean square by which pixels leave [0, 1].

    Args:
        model: its offset moves the box.
        inputs: (M, D).
    """
    pixels = model.images(inputs)
    return (F.relu(pixels - 1).square() + F.relu(-pixels).square()).mean()


def counted(observation: WeightsObservation) -> int | None:
    """Return the number of training images: as told, or the rank of the first layer's change, or None.

    Args:
        observation: the weights after training, and maybe before it.
    """
    if observation.knowledge.count is not None or observation.start is None:
        return observation.knowledge.count
    return spectrum(observation.tensors["layer.0.weight"], None)[3]


def strongest(images: Tensor, duals: Tensor) -> Tensor:
    """Return images (M, ...) by falling size of their dual (M, C): idle candidates come last.

    Args:
        images: the candidates.
        duals: their weights.
    """
    return images[duals.norm(dim=1).argsort(descending=True)]
