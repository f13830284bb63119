"""Bounded-divergence decoding of answers about a marked span, as a defence of the answer surface."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from unmask.defence import Guarantee
from unmask.defences.guaranteed import guaranteed
from unmask.errors import BadInput
from unmask.surface import Scenario
from unmask.surfaces.answer import AnswerSurface
from unmask.surfaces.bounded_answer import BoundedAnswerSurface


@dataclass(frozen=True, kw_only=True)
class BoundedDecodings:
    """Let each token of an answer lean on the marked span only so far that all of them together keep epsilon.

    See docs/guarantees/bounded-decoding.md.

    Args:
        epsilon: of the whole answer.
        delta: of the whole answer.
        replace_span: whether the span may be exchanged for any other; else only removed, which costs less.

    Raises:
        BadInput: if a value is out of range.

    Example:
        >>> BoundedDecodings(epsilon=4.0).guarantee(None).unit
        'one marked span'
    """

    name: ClassVar[str] = "bounded-decoding"
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    replace_span: bool = field(default=True)

    def __post_init__(self) -> None:
        self._surface(AnswerSurface())

    def protect(self, scenario: Scenario) -> Scenario:
        """Return the scenario in which a bounded answer is seen.

        Args:
            scenario: one of an answer.

        Raises:
            BadInput: if what is seen is no answer.
        """
        return replace(scenario, surface=self._surface(self._base(scenario)))

    def guarantee(self, scenario: Scenario | None) -> Guarantee:
        """Return (epsilon, delta) of the span for one answer of the scenario, of the default length without one.

        Args:
            scenario: one of an answer.
        """
        base = AnswerSurface() if scenario is None else self._base(scenario)
        return guaranteed(self._surface(base).mechanism.guarantee())

    def _base(self, scenario: Scenario) -> AnswerSurface:
        if not isinstance(scenario.surface, AnswerSurface):
            rule = f"does not protect {scenario.surface.name}"
            raise BadInput("--defence", self.name, rule, "use --surface answer with a causal language model")
        return scenario.surface

    def _surface(self, base: AnswerSurface) -> BoundedAnswerSurface:
        return BoundedAnswerSurface(base=base, epsilon=self.epsilon, delta=self.delta, replace_span=self.replace_span)
