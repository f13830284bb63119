"""The noise of an answer before it is computed: deviations of each slot, carried through the circuit.

To first order: a product has |a| s_b + |b| s_a, a sum s_a + s_b, whatever their correlation; a linear map adds the
variances of its terms, whose slots have noise of their own. Each operation adds its own noise on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unmask.he import backend, series
from unmask.he.counts import Counts
from unmask.he.linear_map import LinearMap
from unmask.he.package import Package
from unmask.he.packing import Array
from unmask.he.parameters import Parameters
from unmask.he.run import ready, run
from unmask.poly.noise import Noise
from unmask.poly.polynomial import Polynomial


@dataclass(frozen=True, kw_only=True, eq=False)
class Noisy:
    """Values without noise, and the deviation of the noise in each slot."""

    values: Array
    deviation: Array
    level: int


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldMap:
    """A linear map for one level."""

    linear_map: LinearMap
    level: int


class Deviations:
    """Carries values and deviations; see `backend.Evaluator`. It counts nothing.

    Args:
        parameters: ring, levels and scale.
        noise: of each operation.
    """

    def __init__(self, parameters: Parameters, noise: Noise) -> None:
        self.parameters = parameters
        self.slots = parameters.slots
        self.counts = Counts()
        self.noise = noise

    def encode(self, values: Array, level: int) -> Noisy:
        """See `backend.Evaluator`."""
        return Noisy(values=values, deviation=np.full(self.slots, self.noise.encode), level=level)

    def prepare(self, linear_map: LinearMap, level: int, *, streamed: bool = False) -> HeldMap:
        """See `backend.Evaluator`."""
        return HeldMap(linear_map=linear_map, level=level)

    def add(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Noisy:
        """See `backend.Evaluator`."""
        x, y = _noisy(a), _noisy(b)
        level = min(x.level, y.level)
        return Noisy(values=x.values + y.values, deviation=x.deviation + y.deviation, level=level)

    def subtract(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Noisy:
        """See `backend.Evaluator`."""
        x, y = _noisy(a), _noisy(b)
        level = min(x.level, y.level)
        return Noisy(values=x.values - y.values, deviation=x.deviation + y.deviation, level=level)

    def add_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Noisy:
        """See `backend.Evaluator`."""
        return self.add(a, _noisy(b))

    def add_constant(self, a: backend.Ciphertext, constant: float) -> Noisy:
        """See `backend.Evaluator`."""
        x = _noisy(a)
        return Noisy(values=x.values + constant, deviation=x.deviation, level=x.level)

    def multiply_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Noisy:
        """See `backend.Evaluator`."""
        return self.multiply(a, _noisy(b))

    def multiply(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Noisy:
        """See `backend.Evaluator`."""
        return self.multiply_sum([(a, b)])

    def multiply_sum(self, pairs: Sequence[tuple[backend.Ciphertext, backend.Ciphertext]]) -> Noisy:
        """See `backend.Evaluator`."""
        both = [(_noisy(a), _noisy(b)) for a, b in pairs]
        values = np.sum([x.values * y.values for x, y in both], axis=0)
        crossed = [np.abs(x.values) * y.deviation + np.abs(y.values) * x.deviation for x, y in both]
        level = min(operand.level for pair in both for operand in pair)
        return self._rescaled(values, np.sum(crossed, axis=0), level)

    def combine(self, terms: Sequence[backend.Ciphertext], weights: Sequence[float], constant: float = 0.0) -> Noisy:
        """See `backend.Evaluator`."""
        held = [_noisy(term) for term in terms]
        values = np.sum([x.values * w for x, w in zip(held, weights, strict=True)], axis=0) + constant
        deviation = np.sum([x.deviation * abs(w) for x, w in zip(held, weights, strict=True)], axis=0)
        return self._rescaled(values, deviation, min(x.level for x in held))

    def rotate(self, a: backend.Ciphertext, step: int) -> Noisy:
        """See `backend.Evaluator`."""
        x = _noisy(a)
        deviation = np.hypot(np.roll(x.deviation, -step), self.noise.key_switch if step % self.slots else 0.0)
        return Noisy(values=np.roll(x.values, -step), deviation=deviation, level=x.level)

    def rotate_many(self, a: backend.Ciphertext, steps: Sequence[int]) -> tuple[Noisy, ...]:
        """See `backend.Evaluator`."""
        return tuple(self.rotate(a, step) for step in steps)

    def linear(self, a: backend.Ciphertext, maps: Sequence[backend.Prepared]) -> tuple[Noisy, ...]:
        """See `backend.Evaluator`."""
        return tuple(self._mapped(_noisy(a), one) for one in maps if isinstance(one, HeldMap))

    def polynomial(self, a: backend.Ciphertext, polynomial: Polynomial) -> backend.Ciphertext:
        """See `backend.Evaluator`."""
        return series.evaluate(self, a, polynomial)

    def drop(self, a: backend.Ciphertext, level: int) -> Noisy:
        """See `backend.Evaluator`."""
        x = _noisy(a)
        return Noisy(values=x.values, deviation=x.deviation, level=level)

    def bootstrap(self, a: backend.Ciphertext) -> Noisy:
        """See `backend.Evaluator`."""
        x = _noisy(a)
        deviation = np.hypot(x.deviation, self.noise.bootstrap)
        return Noisy(values=x.values, deviation=deviation, level=self.parameters.refreshed)

    def serialise(self, a: backend.Ciphertext) -> bytes:
        """See `backend.Evaluator`; there is nobody to send it to."""
        return b""

    def load(self, ciphertext: bytes) -> Noisy:
        """See `backend.Evaluator`: a fresh vector of zeros."""
        return self.fresh(np.zeros(self.slots), self.parameters.levels)

    def fresh(self, values: Array, level: int) -> Noisy:
        """Return an encrypted vector."""
        return Noisy(values=values, deviation=np.full(self.slots, self.noise.fresh), level=level)

    def wait(self) -> None:
        """Return at once."""

    def _mapped(self, x: Noisy, held: HeldMap) -> Noisy:
        variance, switched = np.zeros(self.slots), self.noise.key_switch**2
        for (giant, baby), weights in held.linear_map.diagonals.items():
            own = np.roll(x.deviation, -baby) ** 2 + bool(baby) * switched
            term = weights**2 * own + (self.noise.encode * np.roll(x.values, -baby)) ** 2
            variance += np.roll(term, -giant)
        result = self._rescaled(held.linear_map(x.values), np.sqrt(variance), held.level)
        return result

    def _rescaled(self, values: Array, deviation: Array, level: int) -> Noisy:
        return Noisy(values=values, deviation=np.hypot(deviation, self.noise.rescale), level=level - 1)


def predicted(package: Package, vectors: Sequence[Array], noise: Noise | None = None) -> Array:
    """Return the deviation of each logit of an answer, in the shape that `Package.unpack` gives.

    Args:
        package: the circuit with its weights.
        vectors: one for each input of the program.
        noise: of each operation, by default that of the parameters.
    """
    parameters = package.parameters
    evaluator = Deviations(parameters, noise or Noise.of(ring=parameters.ring, scale=parameters.scale))
    inputs = [evaluator.fresh(vector, package.program.levels) for vector in vectors]
    outputs = run(ready(package, evaluator), inputs)
    return package.unpack([_noisy(output).deviation for output in outputs])


def _noisy(operand: object) -> Noisy:
    assert isinstance(operand, Noisy)
    return operand
