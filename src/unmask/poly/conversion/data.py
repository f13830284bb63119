"""What a model is trained on and judged by, as tensors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BadInput

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Inputs with what they should give.

    Args:
        inputs: (N, ...) of what `prepare` or the model takes.
        targets: (N,) classes, (N, n) next tokens, or (N, classes) shares of the classes, as a teacher sees them.

    Raises:
        BadInput: if their numbers differ or there is none.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or not len(self.inputs):
            rule = f"are not as many as the {len(self.targets)} targets, or there is none"
            raise BadInput("inputs", len(self.inputs), rule, "give one target an input")
        if self.inputs.is_floating_point() and not bool(self.inputs.isfinite().all()):
            raise BadInput("inputs", tuple(self.inputs.shape), "hold NaN or infinity", "clean the data first")

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches; with an order, in it and without the incomplete last one.

        Args:
            size: of a batch.
            order: (N,) indices.
        """
        if order is None:
            yield from zip(self.inputs.split(size), self.targets.split(size), strict=True)
            return
        whole = max(len(order) // size, 1)
        for at in range(whole):
            index = order[at * size : (at + 1) * size]
            yield self.inputs[index], self.targets[index]


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Training and held-out parts.

    Args:
        train: what is learned from.
        held: what ranges and metrics of the stages are measured on; never learned from.
        augment: changes a batch of training inputs at random.
        prepare: from stored inputs to what the model takes, such as patches of images.
    """

    train: Part
    held: Part
    augment: Augment | None = field(default=None)
    prepare: Callable[[Tensor], Tensor] = field(default=lambda x: x)


def task_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of classes, or of each next token.

    Args:
        logits: (..., classes).
        targets: (...), or shares (..., classes).
        smoothing: share of the target that is spread over all classes.
    """
    if targets.is_floating_point():
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), label_smoothing=smoothing)


@torch.no_grad()
def judge(model: nn.Module, data: Data, part: Part, size: int = 500) -> dict[str, float]:
    """Return accuracy and mean cross-entropy of a model in evaluation; its mode is put back.

    Args:
        model: takes what `data.prepare` gives.
        data: says how inputs are prepared.
        part: what to judge it on.
        size: of a batch.
    """
    mode, right, total, count = model.training, 0, 0.0, 0
    model.eval()
    for x, y in part.batches(size):
        logits = model(data.prepare(x))
        right += int((logits.argmax(-1) == y).sum())
        total += float(task_loss(logits, y)) * y.numel()
        count += y.numel()
    model.train(mode)
    return {"accuracy": right / count, "loss": total / count}
