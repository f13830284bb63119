"""An evaluator that computes nothing: it counts operations and adds up their predicted seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.he import backend, series
from unmask.he.costs import Costs
from unmask.he.counts import Counts
from unmask.he.linear_map import LinearMap
from unmask.he.packing import Array
from unmask.he.parameters import Parameters
from unmask.poly.polynomial import Polynomial


@dataclass(frozen=True, kw_only=True)
class Held:
    """A ciphertext or an encoded vector: its level is all there is."""

    level: int


@dataclass(frozen=True, kw_only=True)
class HeldMap:
    """A linear map for one level."""

    level: int
    linear_map: LinearMap
    streamed: bool


class Tally:
    """Runs a circuit on levels alone; see `backend.Evaluator`.

    Args:
        costs: of the operations.
    """

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.counts = Counts()
        self.seconds = 0.0
        self.resident = 0

    @property
    def parameters(self) -> Parameters:
        """See `backend.Evaluator`."""
        return self.costs.parameters

    @property
    def slots(self) -> int:
        """See `backend.Evaluator`."""
        return self.parameters.slots

    def encode(self, values: Array, level: int) -> Held:
        """See `backend.Evaluator`."""
        self.counts.encodings += 1
        self.resident += self.costs.plain_bytes(level)
        return Held(level=level)

    def prepare(self, linear_map: LinearMap, level: int, *, streamed: bool = False) -> HeldMap:
        """See `backend.Evaluator`."""
        vectors = len(linear_map.diagonals) + (linear_map.bias is not None)
        if not streamed:
            self.counts.prepared(linear_map)
        self.resident += vectors * (8 * self.slots if streamed else self.costs.plain_bytes(level))
        return HeldMap(level=level, linear_map=linear_map, streamed=streamed)

    def add(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Held:
        """See `backend.Evaluator`."""
        self.counts.additions += 1
        return self._spent(self.costs.addition(min(a.level, b.level)), min(a.level, b.level))

    def subtract(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Held:
        """See `backend.Evaluator`."""
        return self.add(a, b)

    def add_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Held:
        """See `backend.Evaluator`."""
        return self.add(a, Held(level=b.level))

    def add_constant(self, a: backend.Ciphertext, constant: float) -> Held:
        """See `backend.Evaluator`."""
        return self.add(a, a)

    def multiply_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Held:
        """See `backend.Evaluator`."""
        self.counts.multiplied_plain()
        return self._spent(self.costs.plain_product(b.level) + self.costs.rescale(b.level), b.level - 1)

    def multiply(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Held:
        """See `backend.Evaluator`."""
        return self.multiply_sum([(a, b)])

    def multiply_sum(self, pairs: Sequence[tuple[backend.Ciphertext, backend.Ciphertext]]) -> Held:
        """See `backend.Evaluator`."""
        level = min(operand.level for pair in pairs for operand in pair)
        self.counts.multiplied(len(pairs))
        once = self.costs.rotation(level) + self.costs.rescale(level)
        return self._spent(len(pairs) * self.costs.product(level) + once, level - 1)

    def combine(self, terms: Sequence[backend.Ciphertext], weights: Sequence[float], constant: float = 0.0) -> Held:
        """See `backend.Evaluator`."""
        level = min(term.level for term in terms)
        self.counts.combined(len(terms), constant)
        return self._spent(len(terms) * self.costs.scalar_product(level) + self.costs.rescale(level), level - 1)

    def rotate(self, a: backend.Ciphertext, step: int) -> Held:
        """See `backend.Evaluator`."""
        if step % self.slots == 0:
            return Held(level=a.level)
        self.counts.rotations += 1
        return self._spent(self.costs.rotation(a.level), a.level)

    def rotate_many(self, a: backend.Ciphertext, steps: Sequence[int]) -> tuple[Held, ...]:
        """See `backend.Evaluator`."""
        distinct = {step % self.slots for step in steps} - {0}
        self.counts.turned(distinct)
        self._hoisted(len(distinct), a.level)
        return tuple(Held(level=a.level) for _ in steps)

    def linear(self, a: backend.Ciphertext, maps: Sequence[backend.Prepared]) -> tuple[Held, ...]:
        """See `backend.Evaluator`."""
        held = [one for one in maps if isinstance(one, HeldMap)]
        level, costs = held[0].level, self.costs
        self.counts.mapped([(one.linear_map, one.streamed) for one in held])
        self._hoisted(len({baby for one in held for baby in one.linear_map.babies} - {0}), level)
        for one in held:
            terms, giants = len(one.linear_map.diagonals), len(set(one.linear_map.giants) - {0})
            self.seconds += terms * (costs.plain_product(level) + one.streamed * costs.encoding(level))
            self.seconds += giants * costs.giant(level) + bool(giants) * costs.down(level) + costs.rescale(level)
        return tuple(self._spent(0.0, level - 1) for _ in held)

    def polynomial(self, a: backend.Ciphertext, polynomial: Polynomial) -> backend.Ciphertext:
        """See `backend.Evaluator`."""
        return series.evaluate(self, a, polynomial)

    def drop(self, a: backend.Ciphertext, level: int) -> Held:
        """See `backend.Evaluator`."""
        return Held(level=level)

    def bootstrap(self, a: backend.Ciphertext) -> Held:
        """See `backend.Evaluator`."""
        self.counts.bootstraps += 1
        return self._spent(self.costs.bootstrap(), self.parameters.refreshed)

    def serialise(self, a: backend.Ciphertext) -> bytes:
        """See `backend.Evaluator`."""
        return b""

    def load(self, ciphertext: bytes) -> Held:
        """See `backend.Evaluator`."""
        return Held(level=self.parameters.levels)

    def wait(self) -> None:
        """Return at once."""

    def _hoisted(self, count: int, level: int) -> None:
        if count:
            self.seconds += self.costs.decomposition(level) + count * self.costs.hoisted(level)

    def _spent(self, seconds: float, level: int) -> Held:
        self.seconds += seconds + self.costs.call
        return Held(level=level)
