"""How long and how fast one run of training goes."""

import math
from dataclasses import dataclass, field
from typing import Literal

from unmask.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast one run trains.

    Args:
        epochs: passes over the training part.
        batch: inputs per step.
        learning_rate: its peak.
        decay: weight decay of maps; norms, biases and polynomials have none.
        warm_up: share of the run in which the rate rises.
        smoothing: of the labels.
        distil: share of the loss that is the teacher's (0 where there is none).
        temperature: of the distillation.
        frozen: share of the run, at its end, in which batch norms keep their statistics.
        limit: largest absolute value that may enter a site before the run is stopped.
        seed: of the order and the augmentation.
        precision: of maps and products while training; weights, norms, polynomials, losses and every
            evaluation are in float32.

    Raises:
        BadInput: if a number is out of its range.
    """

    epochs: int
    batch: int = field(default=128)
    learning_rate: float = field(default=2e-3)
    decay: float = field(default=0.05)
    warm_up: float = field(default=0.05)
    smoothing: float = field(default=0.0)
    distil: float = field(default=0.0)
    temperature: float = field(default=2.0)
    frozen: float = field(default=0.0)
    limit: float = field(default=1e4)
    seed: int = field(default=0)
    precision: Literal["float32", "bfloat16"] = field(default="float32")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise BadInput(name, getattr(self, name), "is not positive", "give at least 1")
        if not self.learning_rate > 0:
            raise BadInput("learning_rate", self.learning_rate, "is not positive", "give a value such as 1e-3")
        if not 0 <= self.distil <= 1:
            raise BadInput("distil", self.distil, "is no share", "give a number from 0 to 1")
        if self.precision not in ("float32", "bfloat16"):
            raise BadInput("precision", self.precision, "is unknown", "name float32 or bfloat16")

    def rate(self, share: float) -> float:
        """Return the learning rate after a share of the run."""
        rise = min(1.0, share / self.warm_up) if self.warm_up else 1.0
        return self.learning_rate * rise * (0.5 + 0.5 * math.cos(math.pi * share))
