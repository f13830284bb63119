"""One DP-SGD step: per-example gradients, clipping and averaging by Opacus, noise from the system's entropy."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from unmask.errors import BadInput, MissingExtra
from unmask.privacy.sampling import Randomness
from unmask.victim import Secret

Losses = Callable[[nn.Module, Secret], Tensor]
"""(module, B sequences) -> the loss (B,) of each alone."""


@runtime_checkable
class Step(Protocol):
    """Takes one training step on the sequences that were drawn for it."""

    def take(self, batches: Sequence[Secret]) -> None:
        """Change the parameters by one step.

        Args:
            batches: what was drawn, cut into batches that fit in memory; none at all is a step like any other.
        """

    def close(self) -> None:
        """Leave the module as a plain one, with the parameters that it has now."""


class PrivateStep:
    """`w <- optimiser(w, (sum_b g_b min(1, C / ||g_b||) + sigma C z) / (q N))`, z standard normal.

    Opacus computes the gradient `g_b` of each sequence by the trained parameters, clips it, sums and divides by the
    **expected** batch size. The noise is drawn here instead, in Opacus' own step hook: its generator is the
    Mersenne twister, whose state follows from its outputs; `Randomness` reads the system's entropy.

    Dropout is off unless asked for: only modules that own trained parameters are in training mode, where Opacus
    listens, and these compute the same in both modes.

    Args:
        module: what is trained, in place.
        losses: loss of each sequence alone.
        trained: the parameters that move, by name; the others are frozen.
        optimiser: over the same parameters.
        noise: sigma.
        clip: C.
        expected: q N, expected number of sequences in a step.
        randomness: source of the noise.
        dropout: train with dropout.

    Raises:
        MissingExtra: if Opacus is not installed.
        BadInput: if Opacus has no per-example gradients for a module.
    """

    def __init__(
        self,
        module: nn.Module,
        losses: Losses,
        trained: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        *,
        noise: float,
        clip: float,
        expected: float,
        randomness: Randomness,
        dropout: bool = False,
    ) -> None:
        self.module, self.losses, self.trained = module, losses, dict(trained)
        self.noise, self.clip, self.expected = noise, clip, expected
        self.randomness = randomness
        freeze(module, trained)
        listening(module, dropout=dropout)
        hooks, optimisers = opacus("opacus.grad_sample"), opacus("opacus.optimizers")
        try:
            self.hooks: Any = hooks.GradSampleHooks(module, loss_reduction="sum")
        except NotImplementedError as error:
            remedy = "leave its parameters out of --train"
            raise BadInput("--model", type(module).__name__, f"is not trained by Opacus ({error})", remedy) from error
        self.optimiser: Any = optimisers.DPOptimizer(
            optimiser, noise_multiplier=0.0, max_grad_norm=clip, expected_batch_size=expected, loss_reduction="mean"
        )
        self.optimiser.attach_step_hook(lambda _: self.add_noise())

    def take(self, batches: Sequence[Secret]) -> None:
        """Change the parameters by one step.

        Args:
            batches: what was drawn, cut into batches that fit in memory. If nobody was drawn, noise alone is added:
                leaving the step out would tell that nobody was.

        Raises:
            BadInput: if a gradient is not finite.
        """
        for index, batch in enumerate(batches):
            self.samples(batch)
            self.optimiser.signal_skip_step(index + 1 < len(batches))
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        if not batches:
            for parameter in self.trained.values():
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)

    def samples(self, batch: Secret) -> dict[str, Tensor]:
        """Compute and return each sequence's own gradient (B, *shape) by every trained parameter.

        Args:
            batch: the sequences.

        Raises:
            BadInput: if one is not finite, or a parameter has none.
        """
        with torch.enable_grad():
            self.losses(self.module, batch).sum().backward()
        found: dict[str, Tensor] = {}
        for name, parameter in self.trained.items():
            sample = getattr(parameter, "grad_sample", None)
            if not isinstance(sample, Tensor) or len(sample) != batch.size:
                # No gradient at all: the loss does not depend on it, in this batch or ever.
                if sample is None:
                    sample = parameter.grad_sample = parameter.new_zeros((batch.size, *parameter.shape))  # type: ignore[attr-defined]
                else:
                    rule = "has no gradient for each example: it is broadcast over the batch or used twice"
                    raise BadInput("--train", name, rule, "leave it out of --train")
            found[name] = sample
        if not all(bool(torch.isfinite(sample).all()) for sample in found.values()):
            rule = "has a gradient that is not finite, which no noise hides"
            raise BadInput("--model", type(self.module).__name__, rule, "lower --learning-rate, or clean the data")
        return found

    def add_noise(self) -> None:
        """Add `sigma C z / (q N)` to every entry of the clipped mean gradient."""
        deviation = self.noise * self.clip / self.expected
        for parameter in self.trained.values():
            assert parameter.grad is not None  # the optimiser has just written it
            if deviation:
                drawn = self.randomness.normal(tuple(parameter.shape))
                parameter.grad += torch.from_numpy(drawn).to(parameter) * deviation

    def close(self) -> None:
        """Leave the module as a plain one, with the parameters that it has now."""
        self.hooks.cleanup()
        thaw(self.module)


class PlainStep:
    """A step of ordinary training on the same draws, for comparison: no clipping, no noise, no guarantee.

    Args:
        module: what is trained, in place.
        losses: loss of each sequence alone.
        trained: the parameters that move, by name.
        optimiser: over the same parameters.
        expected: expected number of sequences in a step.
        dropout: train with dropout.
    """

    def __init__(
        self,
        module: nn.Module,
        losses: Losses,
        trained: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        *,
        expected: float,
        dropout: bool = False,
    ) -> None:
        self.module, self.losses, self.optimiser, self.expected = module, losses, optimiser, expected
        freeze(module, trained)
        listening(module, dropout=dropout)

    def take(self, batches: Sequence[Secret]) -> None:
        """Change the parameters by one step; nothing happens where nobody was drawn."""
        if not batches:
            return
        with torch.enable_grad():
            for batch in batches:
                (self.losses(self.module, batch).sum() / self.expected).backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def close(self) -> None:
        """Leave the module as a plain one."""
        thaw(self.module)


def freeze(module: nn.Module, trained: Mapping[str, nn.Parameter]) -> None:
    """Let gradients flow to these parameters of the module alone."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)


def thaw(module: nn.Module) -> None:
    """Let gradients flow to all parameters again, out of training mode."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(True)


def listening(module: nn.Module, *, dropout: bool) -> None:
    """Put into training mode all modules, or without dropout those alone that own trained parameters."""
    module.train(dropout)
    for child in module.modules():
        if any(parameter.requires_grad for parameter in child.parameters(recurse=False)):
            child.training = True


def opacus(name: str) -> Any:
    """Return a module of Opacus, an optional dependency.

    Args:
        name: the module.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra("opacus", "privacy") from error
