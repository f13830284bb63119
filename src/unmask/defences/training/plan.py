"""How a model is trained, and what follows from it: steps, sampling rate, noise, guarantee."""

import math
from dataclasses import dataclass, field, replace

from unmask.defence import Guarantee
from unmask.defences.guaranteed import guaranteed
from unmask.errors import BadInput
from unmask.privacy import accountant
from unmask.privacy.checks import at_least_one, budget, positive
from unmask.surfaces.selector import ALL


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a training that has no privacy in them.

    Args:
        epochs: expected number of times that each example is drawn.
        batch: expected number of examples in a step.
        learning_rate: step size of Adam.
        train: which parameters move; see `unmask.surfaces.selector`. Fewer parameters take less noise.
        physical: examples whose gradients are held in memory at once. With 1 an example's gradient cannot depend on
            those beside it, not even in its last bits, and the guarantee's arithmetic is exact.
        dropout: train with dropout.
        seed: makes the draws and the noise reproducible, and thereby voids the guarantee.

    Raises:
        BadInput: if one is out of range.

    Example:
        >>> Training(epochs=2, batch=10).steps(100), Training(batch=10).rate(100)
        (20, 0.1)
    """

    epochs: float = field(default=3.0)
    batch: int = field(default=64)
    learning_rate: float = field(default=1e-3)
    train: str = field(default=ALL)
    physical: int = field(default=8)
    dropout: bool = field(default=False)
    seed: int | None = field(default=None)

    def __post_init__(self) -> None:
        positive("--epochs", self.epochs)
        positive("--learning-rate", self.learning_rate)
        at_least_one("--batch", self.batch)
        at_least_one("--physical-batch", self.physical)

    def rate(self, records: int) -> float:
        """Return the chance with which each example is drawn for a step.

        Args:
            records: N, number of training examples.

        Raises:
            BadInput: if a batch would be larger than the data.
        """
        if self.batch > records:
            raise BadInput("--batch", self.batch, f"is more than the {records} examples", "give fewer")
        return self.batch / records

    def steps(self, records: int) -> int:
        """Return the number of steps.

        Args:
            records: N, number of training examples.
        """
        return max(1, math.ceil(self.epochs / self.rate(records)))


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What makes a training private.

    Args:
        noise: sigma, deviation of the noise over the clipping norm.
        clip: C, norm to which each example's gradient is scaled down.
        delta: of the guarantee.

    Raises:
        BadInput: if one is out of range.
    """

    noise: float
    clip: float
    delta: float

    def __post_init__(self) -> None:
        positive("noise", self.noise)
        positive("clip", self.clip)

    @classmethod
    def calibrated(cls, epsilon: float, delta: float, clip: float, training: Training, records: int) -> "Privacy":
        """Return the least noise that gives (epsilon, delta) over the whole training.

        Args:
            epsilon: the target.
            delta: of the guarantee; a warning says so if it is not below 1/records.
            clip: C.
            training: gives rate and steps.
            records: N, number of training examples.

        Raises:
            MissingExtra: if dp-accounting is not installed.
        """
        rate, steps = training.rate(records), training.steps(records)
        return cls(noise=accountant.noise_for(epsilon, delta, rate, steps, records=records), clip=clip, delta=delta)

    def guarantee(self, training: Training, records: int, *, status: str = "claimed") -> Guarantee:
        """Return what the training guarantees.

        Args:
            training: gives rate, steps and whether the noise was seeded.
            records: N, number of training examples.
            status: `tested` where the self-test passed.

        Raises:
            MissingExtra: if dp-accounting is not installed.
        """
        rate, steps = training.rate(records), training.steps(records)
        claim = accountant.claim(self.noise, rate, steps, self.delta)
        budget(max(claim.epsilon, 1e-12), self.delta, records=records)
        # Beside other examples floats may compute an example's gradient with other last bits.
        arithmetic = "exact" if training.physical == 1 else "whole-number"
        return guaranteed(replace(claim, arithmetic=arithmetic), status=status, void=training.seed is not None)
