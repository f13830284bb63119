"""A ledger: what was spent on one set of data, and the refusal of what would exceed the budget."""

import math
from dataclasses import dataclass, field, replace

from unmask.errors import BadInput
from unmask.privacy import checks, gaussian, renyi


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One release, described by exactly one of: (epsilon, delta), a Gaussian's mu, or a Renyi curve.

    Args:
        name: what was released.
        epsilon: of the release, with `delta`.
        delta: of the release.
        mu: sensitivity over sigma of a Gaussian release.
        curve: Renyi divergences, such as `worst_case.renyi(...)`.

    Raises:
        BadInput: if none or several are given.
    """

    name: str
    epsilon: float | None = field(default=None)
    delta: float = field(default=0.0)
    mu: float | None = field(default=None)
    curve: renyi.Curve | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.epsilon, self.mu, self.curve)]
        if sum(given) != 1:
            raise BadInput(
                "spent", self.name, "needs exactly one of epsilon, mu and curve", "describe the release once"
            )
        for name, value in (("epsilon", self.epsilon), ("mu", self.mu)):
            if value is not None:
                checks.positive(name, value)
        if not 0 <= self.delta < 1:
            raise BadInput("delta", self.delta, "is not in [0, 1)", "give the delta of the release")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be spent in total on the same data, the same unit and the same neighbouring relation.

    Composition: (epsilon, delta) pairs add up; Gaussians compose exactly, `mu = sqrt(sum mu_i^2)`; curves add
    up order by order, a Gaussian among them as `alpha mu^2 / 2`. All three stay valid when each release is
    chosen after the last (a fully adaptive filter: Rogers et al. 2016, Feldman and Zrnic 2021, Smith and
    Thakurta 2022). What is left of delta after the pairs is spent on the conversion of the rest.

    Args:
        epsilon: the most that may be lost.
        delta: the most that may fail.
        entries: what was spent.

    Raises:
        BadInput: if epsilon or delta is out of range.

    Example:
        >>> ledger = Budget(epsilon=1.0, delta=1e-5).spend(Spent(name="table", epsilon=0.4))
        >>> round(ledger.left, 2)
        0.6
    """

    epsilon: float
    delta: float
    entries: tuple[Spent, ...] = field(default=())

    def __post_init__(self) -> None:
        checks.budget(self.epsilon, self.delta)

    @property
    def total(self) -> float:
        """Epsilon of everything that was spent, at the budget's delta."""
        return self._total(self.entries)

    @property
    def left(self) -> float:
        """Epsilon that a further release with delta = 0 may have."""
        return max(0.0, self.epsilon - self.total)

    def spend(self, entry: Spent) -> "Budget":
        """Return the ledger with one more release; ask before releasing.

        Args:
            entry: what is about to be released.

        Raises:
            BadInput: if the total would exceed the budget; says what is left.
        """
        entries = (*self.entries, entry)
        total = self._total(entries)
        if total > self.epsilon:
            rule = f"would bring the total to epsilon {total:.4g} of {self.epsilon:g} at delta {self.delta:g}"
            raise BadInput("spend", entry.name, rule, f"epsilon {self.left:.4g} is left: release less, or stop")
        return replace(self, entries=entries)

    def _total(self, entries: tuple[Spent, ...]) -> float:
        plain = math.fsum(e.epsilon for e in entries if e.epsilon is not None)
        rest = self.delta - math.fsum(e.delta for e in entries)
        squares = math.fsum(e.mu**2 for e in entries if e.mu is not None)
        curves = [e.curve for e in entries if e.curve is not None]
        if rest < 0 or (rest == 0 and (squares or curves)):
            return math.inf
        if curves:
            return plain + renyi.epsilon(renyi.compose(renyi.gaussian(squares / 2), *curves), rest)
        return plain + (gaussian.epsilon_of(rest, 1.0, math.sqrt(squares)) if squares else 0.0)
