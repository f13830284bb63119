"""DP-SGD: every sequence's gradient is clipped, and the step is noised before it leaves the client."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

from unmask.defence import Guarantee
from unmask.defences.guaranteed import guaranteed
from unmask.errors import BadInput
from unmask.privacy import accountant
from unmask.privacy.checks import budget
from unmask.surface import Scenario
from unmask.surfaces.dp_gradient import DpGradientSurface, Reading
from unmask.surfaces.gradient import GradientSurface
from unmask.surfaces.selector import ALL


@dataclass(frozen=True, kw_only=True)
class DpSgd:
    """Clip to `clip`, add noise of deviation `sigma * clip`; epsilon counts all steps and every model between.

    An audit draws its noise from its seed so that it can be repeated; its own release is therefore void, and the
    guarantee is that of the same step with fresh randomness.

    Args:
        epsilon: the guarantee that sigma is found for, instead of `noise`.
        noise: sigma, deviation of the noise over the clipping norm; 1 unless it or epsilon is given.
        clip: norm to which every sequence's gradient is scaled down.
        rate: expected batch size over the number of training sequences.
        steps: number of steps that are released.
        delta: of the guarantee; below one over the number of training sequences.
        reading: `released`, or `pre-noise` to reproduce attacks that read the gradient before it is protected.
        train: which parameters the steps move, in the language of selections.

    Raises:
        BadInput: if a setting is out of its range.

    Example:
        >>> str(DpSgd(reading=Reading.PRE_NOISE).guarantee(None))
        'none: empirical only'
    """

    name: ClassVar[str] = "dp-sgd"
    epsilon: float | None = field(default=None)
    noise: float | None = field(default=None)
    clip: float = field(default=1.0)
    rate: float = field(default=1.0)
    steps: int = field(default=1)
    delta: float = field(default=1e-5)
    reading: Reading = field(default=Reading.RELEASED)
    train: str = field(default=ALL)

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            budget(self.epsilon, self.delta)
            if self.noise is not None:
                raise BadInput("noise", self.noise, "comes on top of epsilon", "give one, and the other follows")
        DpGradientSurface(clip=self.clip, noise=self.noise or 0.0)

    @cached_property
    def sigma(self) -> float:
        """Deviation of the noise over the clipping norm.

        Raises:
            BadInput: if it has to be found, and rate or steps is out of range.
            MissingExtra: if it has to be found, and the accountant is not installed.
        """
        if self.epsilon is not None:
            return accountant.noise_for(self.epsilon, self.delta, self.rate, self.steps)
        return 1.0 if self.noise is None else self.noise

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the scenario in which the gradient comes from a DP-SGD step.

        Raises:
            BadInput: if what is seen is no gradient.
        """
        if not isinstance(scenario.surface, GradientSurface):
            raise BadInput("--defence", self.name, f"does not protect {scenario.surface.name}", "audit the gradient")
        surface = DpGradientSurface(
            base=scenario.surface, clip=self.clip, noise=self.sigma, reading=self.reading, train=self.train
        )
        return replace(scenario, surface=surface)

    def guarantee(self, scenario: Scenario | None) -> Guarantee:
        """Return epsilon of all steps, or that nothing is guaranteed where the noise is zero or read around.

        Raises:
            BadInput: if rate, steps or delta is out of range.
            MissingExtra: if the accountant is not installed.
        """
        if self.reading is Reading.PRE_NOISE or not self.sigma:
            return Guarantee()
        claim = accountant.claim(self.sigma, self.rate, self.steps, self.delta, unit="one training sequence")
        return guaranteed(claim)
