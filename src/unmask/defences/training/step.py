"""One DP-SGD step: per-example gradients by Opacus; clipping, sum and noise in whole numbers, from system entropy."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from unmask.errors import BadInput, MissingExtra
from unmask.privacy.sampling import Randomness
from unmask.victim import Secret

GRID = 2**22
"""Steps of the grid in the clipping norm C; what d parameters lose of a gradient's norm is at most sqrt(d) / 2^22."""
BLOCK, SLACK = 2**12, 2.6e-4
"""Squares that are added in float32, and the largest error of such a sum: 2^12 and some roundings of 2^-24."""
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
    """`w <- optimiser(w, h (sum_b k_b + round(sigma C z / h)) / (q N))`, z standard normal, `h = C / 2^22`.

    `k_b` is the gradient of each sequence by the trained parameters, which Opacus computes, scaled down to the norm C
    and cut to whole multiples of h. From there to the release all numbers are whole, so that the bits of the sum tell
    no more than the proof allows: floats would round the sum by what is in it. See `clipped` and
    `unmask.privacy.rounded`. Opacus' optimiser adds floats, and its noise is the Mersenne twister's, whose state
    follows from its outputs; here neither is used.

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
        self.module, self.losses, self.trained, self.optimiser = module, losses, dict(trained), optimiser
        self.noise, self.clip, self.expected = noise, clip, expected
        self.randomness = randomness
        freeze(module, trained)
        listening(module, dropout=dropout)
        hooks = opacus("opacus.grad_sample")
        try:
            self.hooks: Any = hooks.GradSampleHooks(module, loss_reduction="sum")
        except NotImplementedError as error:
            remedy = "leave its parameters out of --train"
            raise BadInput("--model", type(module).__name__, f"is not trained by Opacus ({error})", remedy) from error

    def take(self, batches: Sequence[Secret]) -> None:
        """Change the parameters by one step.

        Args:
            batches: what was drawn, cut into batches that fit in memory. If nobody was drawn, noise alone is added:
                leaving the step out would tell that nobody was.

        Raises:
            BadInput: if a gradient is not finite.
        """
        for name, released in self.released(batches).items():
            self.trained[name].grad = released
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def released(self, batches: Sequence[Secret]) -> dict[str, Tensor]:
        """Return what the optimiser is shown of a step, by parameter.

        Args:
            batches: as in `take`.

        Raises:
            BadInput: if a gradient is not finite.
        """
        total = {name: torch.zeros(one.shape, dtype=torch.float64) for name, one in self.trained.items()}
        for batch in batches:
            for name, whole in clipped(self.samples(batch), self.clip).items():
                for one in whole:
                    # Sums of whole numbers below 2^53 are exact in float64, in any order.
                    total[name] += one
            for parameter in self.trained.values():
                parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]
        step = self.clip / GRID / self.expected
        return {
            name: ((total[name] + self.drawn(name)) * step).to(parameter) for name, parameter in self.trained.items()
        }

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
                    sample = parameter.new_zeros((batch.size, *parameter.shape))
                else:
                    rule = "has no gradient for each example: it is broadcast over the batch or used twice"
                    raise BadInput("--train", name, rule, "leave it out of --train")
            found[name] = sample
        if not bool(norms(found).isfinite().all()):
            rule = "has a gradient that is not finite, which no noise hides"
            raise BadInput("--model", type(self.module).__name__, rule, "lower --learning-rate, or clean the data")
        return found

    def drawn(self, name: str) -> Tensor:
        """Return the noise of one parameter, as whole multiples of the grid.

        Args:
            name: the parameter's.
        """
        shape = self.trained[name].shape
        if not self.noise:
            return torch.zeros(shape, dtype=torch.float64)
        whole = self.randomness.rounded_normal(tuple(shape), self.noise * GRID)
        return torch.from_numpy(whole).to(torch.float64)

    def close(self) -> None:
        """Leave the module as a plain one, with the parameters that it has now."""
        self.hooks.cleanup()
        thaw(self.module)


def clipped(samples: Mapping[str, Tensor], clip: float) -> dict[str, Tensor]:
    """Return gradients (B, *shape) as whole numbers in floats whose norm over all parameters is at most 2^22.

    Each is scaled by `min(1, C / ||g||) 2^22 / C`, and a thousandth less where it is clipped, and cut towards zero,
    which makes no norm longer. That the norm is kept is then measured, so that the bound does not rest on how floats
    round; a gradient that does not keep it is left out.

    Args:
        samples: each sequence's own gradient by parameter; overwritten, for they are large.
        clip: C.
    """
    whole = {name: one.to(torch.promote_types(one.dtype, torch.float32)) for name, one in samples.items()}
    factor = GRID / clip * (clip * (1 - 4 * SLACK) / norms(whole)).clamp(max=1.0)
    for one in whole.values():
        one.mul_(_rows(factor, one).to(one.dtype)).trunc_()
    kept = norms(whole) * (1 + SLACK) <= GRID
    if not bool(kept.all()):
        for one in whole.values():
            one[~kept] = 0.0
    return whole


def norms(samples: Mapping[str, Tensor]) -> Tensor:
    """Return the norm (B,) of each sequence's gradient over all parameters, to one part in 4,000.

    Squares of `BLOCK` entries add up in the tensor's own format, where the error of a sum of n squares is at most n
    roundings, the blocks' sums in float64.
    """
    total = torch.zeros(len(next(iter(samples.values()))), dtype=torch.float64)
    for one in samples.values():
        for block in one.flatten(1).split(BLOCK, dim=1):
            total += torch.linalg.vector_norm(block, dim=1).double().square()
    return total.sqrt()


def _rows(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.view(-1, *(1,) * (like.dim() - 1))


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
