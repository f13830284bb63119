"""Ranges of what enters each non-linearity: watched, penalised in training, measured on held-out data."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.layers.activation import Activation

POSITIVE = ("inverse", "inverse-sqrt")
"""Functions with a pole at zero: their range needs a floor as well as a ceiling."""

EDGE = 0.85
"""Share of a half-interval beyond which training draws an input back, so that unseen inputs stay inside."""


Seen = dict[str, tuple[Activation, Tensor]]
"""By its path a site, and what entered it."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """What entered one site.

    Args:
        low: smallest entry.
        high: largest entry.
        sample: some entries, for fits that are weighted by where the inputs are.
    """

    low: float
    high: float
    sample: Tensor

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))

    def joined(self, other: "Range") -> "Range":
        """Return the range of both, with the entries of both.

        Args:
            other: of the same site.
        """
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Range(low=low, high=high, sample=torch.cat([self.sample, other.sample]))

    def widened(self, margin: float) -> tuple[float, float]:
        """Return the interval, longer by the factor `margin` about its middle.

        A positive range that would reach zero is widened by the factor at both ends: what spreads over orders of
        magnitude goes beyond them by a factor.
        """
        half = 0.5 * margin * max(self.high - self.low, 1e-6)
        middle = 0.5 * (self.low + self.high)
        if self.low > 0 and middle - half <= 0:
            return (self.low / margin, self.high * margin)
        return (middle - half, middle + half)


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """Weights and ceilings of the two penalties of range training.

    Args:
        weight: of what leaves [-ceiling, ceiling] at activations.
        ceiling: R.
        variance_weight: of the logarithm of variances outside [floor, variance_ceiling] at feature norms.
        variance_floor: smallest variance that costs nothing.
        variance_ceiling: largest.
        temperature: of the soft maximum over examples, in units of the ceiling.
        interval_weight: of what comes near the end of a polynomial's interval, in units of its half.

    Raises:
        BadInput: if a ceiling is not positive.

    Source: Zimerman et al., 2024, equation 11, with a soft maximum over the examples in place of the one
    largest entry, so that the gradient is not that of a single number.
    """

    weight: float = field(default=0.1)
    ceiling: float = field(default=4.0)
    variance_weight: float = field(default=0.1)
    variance_floor: float = field(default=0.5)
    variance_ceiling: float = field(default=30.0)
    temperature: float = field(default=0.25)
    interval_weight: float = field(default=1.0)

    def __post_init__(self) -> None:
        if min(self.ceiling, self.variance_ceiling, self.variance_floor, self.temperature) <= 0:
            raise BadInput("ceiling", self.ceiling, "or another bound is not positive", "give positive bounds")

    def __call__(self, seen: Mapping[str, tuple[Activation, Tensor]]) -> Tensor:
        """Return the sum over sites of the penalty of what entered them in one forward pass.

        Of a site with a polynomial that is wild outside of its interval, the bound is a share `EDGE` of the interval.
        """
        total = torch.zeros(())
        for site, x in seen.values():
            if site.wild and site.interval is not None:
                over = _position(x, site).abs().flatten(1).amax(1) - EDGE
                total = total + self.interval_weight * self._soft_maximum(over, 1.0)
            elif site.function in POSITIVE:
                logs = x.flatten(1).log()
                above = logs - torch.tensor(self.variance_ceiling).log()
                below = torch.tensor(self.variance_floor).log() - logs
                total = total + self.variance_weight * self._soft_maximum(above.maximum(below).amax(1), 1.0)
            else:
                over = x.abs().flatten(1).amax(1) - self.ceiling
                total = total + self.weight * self._soft_maximum(over, self.ceiling)
        return total

    def _soft_maximum(self, over: Tensor, unit: float) -> Tensor:
        hinge = over.clamp_min(0.0)
        share = (hinge.detach() / (self.temperature * unit)).softmax(0)
        return (share * hinge).sum()


def _position(x: Tensor, site: Activation) -> Tensor:
    # -1 to 1 over the interval; on a logarithmic scale by a pole, where the low end matters as much as the high one.
    assert site.interval is not None
    low, high = site.interval.tolist()
    if site.function in POSITIVE:
        x, low, high = x.clamp_min(0.1 * low).log(), math.log(low), math.log(high)
    return (x - 0.5 * (low + high)) * (2.0 / (high - low))


def sites(model: nn.Module) -> dict[str, Activation]:
    """Return each non-linearity by its module path, in order of registration."""
    found = {name: child for name, child in model.named_modules() if isinstance(child, Activation)}
    return {name: child for name, child in found.items() if child.function != "identity"}


@contextmanager
def watching(
    model: nn.Module, *, poles: bool = True, held: bool = False
) -> Iterator[dict[str, tuple[Activation, Tensor]]]:
    """Collect what enters each site during the forward passes inside, the last pass by the site's path.

    Args:
        model: watched until the context ends.
        poles: whether sites of functions with a pole are watched as well; norms that nobody watches are faster.
        held: whether polynomials take what leaves their interval as its end, so that later sites see something.
    """
    seen: Seen = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...] | None]:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            assert isinstance(module, Activation)
            seen[name] = (module, arguments[0])
            if not held or module.interval is None:
                return None
            low, high = module.interval.tolist()
            return (arguments[0].clamp(low, high),)

        return keep

    handles = [
        site.register_forward_pre_hook(hook(name))
        for name, site in sites(model).items()
        if poles or site.function not in POSITIVE
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def measure(
    model: nn.Module, batches: Iterable[Tensor], draw: torch.Generator, sample: int = 20000, *, held: bool = False
) -> dict[str, Range]:
    """Return the range of each site over held-out inputs, the model in evaluation.

    Args:
        model: any module with `Activation` sites; its mode is put back.
        batches: its inputs.
        draw: chooses the entries that are kept.
        sample: how many entries of each site to keep at most.
        held: whether polynomials take what leaves their interval as its end.

    Raises:
        BadInput: if an entry is not finite, naming the site.
    """
    mode = model.training
    model.eval()
    lows: dict[str, list[float]] = {}
    highs: dict[str, list[float]] = {}
    kept: dict[str, list[Tensor]] = {}
    with watching(model, held=held) as seen:
        for x in batches:
            model(x)
            for name, (_, value) in seen.items():
                flat = value.flatten()
                if not bool(flat.isfinite().all()):
                    remedy = "train longer or at a lower rate"
                    raise BadInput("model", name, "receives values that are not finite", remedy)
                lows.setdefault(name, []).append(float(flat.min()))
                highs.setdefault(name, []).append(float(flat.max()))
                index = torch.randint(len(flat), (min(len(flat), 2000),), generator=draw)
                kept.setdefault(name, []).append(flat[index])
    model.train(mode)
    found = {}
    for name in lows:
        every = torch.cat(kept[name])
        chosen = every[torch.randperm(len(every), generator=draw)[:sample]]
        found[name] = Range(low=min(lows[name]), high=max(highs[name]), sample=chosen)
    return found
