"""CKKS in clear: levels, noise and counts of every operation, without a library. It hides nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.he import backend, series
from unmask.he.counts import Counts
from unmask.he.envelope import fingerprint, seal, unseal
from unmask.he.errors import LevelExhausted, NoKey
from unmask.he.linear_map import LinearMap
from unmask.he.parameters import Parameters
from unmask.poly.noise import Noise
from unmask.poly.polynomial import Polynomial

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vector:
    """A vector at a level: what takes the place of a ciphertext and of an encoded vector."""

    values: Array
    level: int


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldMap:
    """A linear map for one level."""

    linear_map: LinearMap
    level: int
    streamed: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedKeyHolder:
    """Adds the noise of encryption and remembers whose ciphertext it is.

    Args:
        parameters: ring, levels and scale.
        generator: randomness of the noise.
        noise: deviations, by default those of the parameters.
        key: name of the key.
    """

    parameters: Parameters
    generator: np.random.Generator
    noise: Noise | None = field(default=None)
    key: str = field(default="simulated")

    def encrypt(self, values: Array, level: int | None = None) -> bytes:
        """Return a sealed vector with the noise of encryption; see `backend.KeyHolder`."""
        level = self.parameters.levels if level is None else level
        _in_range(level, self.parameters)
        full = padded(values, self.parameters.slots)
        noise = self.noise or _noise(self.parameters)
        full = full + noise.fresh * self.generator.standard_normal(len(full))
        return _sealed(self.key, self.parameters, Vector(values=full, level=level))

    def decrypt(self, ciphertext: bytes) -> Array:
        """Return the vector of a sealed ciphertext; see `backend.KeyHolder`."""
        return _opened(self.key, self.parameters, ciphertext).values


class SimulatedEvaluator:
    """Computes on vectors as a library would on ciphertexts.

    Args:
        parameters: ring, levels and scale.
        generator: randomness of the noise.
        rotations: steps for which there is a key; None for all.
        noise: deviations, by default those of the parameters.
        key: name of the key.
    """

    def __init__(
        self,
        parameters: Parameters,
        generator: np.random.Generator,
        *,
        rotations: frozenset[int] | None = None,
        noise: Noise | None = None,
        key: str = "simulated",
    ) -> None:
        self.parameters = parameters
        self.slots = parameters.slots
        self.counts = Counts()
        self._generator = generator
        self._rotations = rotations
        self._noise = noise or _noise(parameters)
        self._key = key

    def encode(self, values: Array, level: int) -> Vector:
        """See `backend.Evaluator`."""
        _in_range(level, self.parameters)
        self.counts.encodings += 1
        return Vector(values=self._noisy(padded(values, self.slots), self._noise.encode), level=level)

    def prepare(self, linear_map: LinearMap, level: int, *, streamed: bool = False) -> HeldMap:
        """See `backend.Evaluator`."""
        _in_range(level, self.parameters)
        fits(linear_map, self.slots)
        if not streamed:
            self.counts.prepared(linear_map)
        return HeldMap(linear_map=linear_map, level=level, streamed=streamed)

    def add(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Vector:
        """See `backend.Evaluator`."""
        return self._sum(_vector(a), _vector(b), np.add)

    def subtract(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Vector:
        """See `backend.Evaluator`."""
        return self._sum(_vector(a), _vector(b), np.subtract)

    def add_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Vector:
        """See `backend.Evaluator`."""
        return self._sum(self.drop(a, b.level), _vector(b), np.add)

    def add_constant(self, a: backend.Ciphertext, constant: float) -> Vector:
        """See `backend.Evaluator`."""
        self.counts.additions += 1
        return Vector(values=_vector(a).values + constant, level=a.level)

    def multiply_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Vector:
        """See `backend.Evaluator`."""
        self.counts.multiplied_plain()
        return self._rescaled(self.drop(a, b.level).values * _vector(b).values, b.level)

    def multiply(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Vector:
        """See `backend.Evaluator`."""
        return self.multiply_sum([(a, b)])

    def multiply_sum(self, pairs: Sequence[tuple[backend.Ciphertext, backend.Ciphertext]]) -> Vector:
        """See `backend.Evaluator`."""
        level = min(operand.level for pair in pairs for operand in pair)
        self.counts.multiplied(len(pairs))
        total: Array = sum((_vector(a).values * _vector(b).values for a, b in pairs), np.zeros(self.slots))
        return self._rescaled(total, level)

    def combine(self, terms: Sequence[backend.Ciphertext], weights: Sequence[float], constant: float = 0.0) -> Vector:
        """See `backend.Evaluator`."""
        level = min(term.level for term in terms)
        self.counts.combined(len(terms), constant)
        pairs = zip(terms, weights, strict=True)
        total: Array = sum((_vector(term).values * weight for term, weight in pairs), np.zeros(self.slots))
        return self._rescaled(total + constant, level)

    def rotate(self, a: backend.Ciphertext, step: int) -> Vector:
        """See `backend.Evaluator`."""
        step %= self.slots
        if step == 0:
            return _vector(a)
        self.counts.rotations += 1
        return self._turned(_vector(a), step)

    def rotate_many(self, a: backend.Ciphertext, steps: Sequence[int]) -> tuple[Vector, ...]:
        """See `backend.Evaluator`."""
        self.counts.turned(step % self.slots for step in steps)
        return self._all_turned(_vector(a), steps)

    def _all_turned(self, a: Vector, steps: Sequence[int]) -> tuple[Vector, ...]:
        distinct = sorted({step % self.slots for step in steps} - {0})
        turned = {0: a} | {step: self._turned(a, step) for step in distinct}
        return tuple(turned[step % self.slots] for step in steps)

    def linear(self, a: backend.Ciphertext, maps: Sequence[backend.Prepared]) -> tuple[Vector, ...]:
        """See `backend.Evaluator`."""
        held = [_held(item, maps[0].level) for item in maps]
        a = self.drop(a, held[0].level)
        babies = sorted({baby for item in held for baby in item.linear_map.babies})
        self.counts.mapped([(item.linear_map, item.streamed) for item in held])
        turned = dict(zip(babies, self._all_turned(a, babies), strict=True))
        return tuple(self._applied(item, turned) for item in held)

    def _applied(self, held: HeldMap, turned: dict[int, Vector]) -> Vector:
        linear_map, total = held.linear_map, np.zeros(self.slots)
        for giant in linear_map.giants:
            inner = np.zeros(self.slots)
            for (outer, baby), diagonal in linear_map.diagonals.items():
                if outer == giant:
                    inner += self._noisy(diagonal, self._noise.encode) * turned[baby].values
            if giant:
                # Turned at the squared scale, so that the noise of the key switch vanishes in the rescaling.
                self._has_key(giant)
            total += np.roll(inner, -giant)
        result = self._rescaled(total, held.level)
        if linear_map.bias is None:
            return result
        return Vector(values=result.values + self._noisy(linear_map.bias, self._noise.encode), level=result.level)

    def polynomial(self, a: backend.Ciphertext, polynomial: Polynomial) -> backend.Ciphertext:
        """See `backend.Evaluator`."""
        return series.evaluate(self, a, polynomial)

    def drop(self, a: backend.Ciphertext, level: int) -> Vector:
        """See `backend.Evaluator`."""
        lower(a.level, level)
        return Vector(values=_vector(a).values, level=level)

    def bootstrap(self, a: backend.Ciphertext) -> Vector:
        """See `backend.Evaluator`."""
        level = self.parameters.refreshed
        self.counts.bootstraps += 1
        _inside(_vector(a).values, self._noise.bootstrap)
        return Vector(values=self._noisy(_vector(a).values, self._noise.bootstrap), level=level)

    def serialise(self, a: backend.Ciphertext) -> bytes:
        """See `backend.Evaluator`."""
        return _sealed(self._key, self.parameters, _vector(a))

    def load(self, ciphertext: bytes) -> Vector:
        """See `backend.Evaluator`."""
        return _opened(self._key, self.parameters, ciphertext)

    def wait(self) -> None:
        """Return: everything is done when it is asked for."""

    def _sum(self, a: Vector, b: Vector, how: Callable[[Array, Array], Array]) -> Vector:
        self.counts.additions += 1
        return Vector(values=how(a.values, b.values), level=min(a.level, b.level))

    def _rescaled(self, values: Array, level: int) -> Vector:
        if level < 1:
            raise LevelExhausted("a product needs a level and none is left; plan more levels or a bootstrap")
        return Vector(values=self._noisy(values, self._noise.rescale), level=level - 1)

    def _turned(self, a: Vector, step: int) -> Vector:
        self._has_key(step)
        return Vector(values=self._noisy(np.roll(a.values, -step), self._noise.key_switch), level=a.level)

    def _has_key(self, step: int) -> None:
        if self._rotations is not None and step not in self._rotations:
            raise NoKey(f"there is no key to rotate by {step}")

    def _noisy(self, values: Array, deviation: float) -> Array:
        return values + deviation * self._generator.standard_normal(len(values)) if deviation else values


def padded(values: Array, slots: int) -> Array:
    """Return a vector filled up with zeros to one entry a slot.

    Raises:
        BadInput: if it is too long, or an entry is not finite.
    """
    flat = np.asarray(values, dtype=np.float64)
    if flat.ndim != 1 or len(flat) > slots:
        raise BadInput("values", flat.shape, f"do not fit {slots} slots", "pack fewer values into one ciphertext")
    if not np.isfinite(flat).all():
        raise BadInput("values", "NaN or infinity", "cannot be encoded", "give finite numbers")
    return np.concatenate([flat, np.zeros(slots - len(flat))])


def fits(linear_map: LinearMap, slots: int) -> None:
    """Check that a map is of so many slots.

    Raises:
        BadInput: if it is not.
    """
    if linear_map.slots != slots:
        raise BadInput("diagonals", linear_map.slots, f"are not of {slots} slots", "pack for these parameters")


def lower(level: int, wanted: int) -> None:
    """Check that a ciphertext of a level can be brought to another.

    Raises:
        LevelExhausted: if that is higher, or below 0.
    """
    if not 0 <= wanted <= level:
        raise LevelExhausted(f"a ciphertext of level {level} cannot be brought to level {wanted}")


def _inside(values: Array, deviation: float) -> None:
    largest = float(np.abs(values).max())
    if largest > 1 + 10 * deviation:
        raise BadInput("bootstrap", largest, "is outside [-1, 1]", "scale the values down before")


def _held(prepared: object, level: int) -> HeldMap:
    if not isinstance(prepared, HeldMap) or prepared.level != level:
        raise BadInput("maps", level, "are not all prepared here for this level", "prepare all for the same level")
    return prepared


def _noise(parameters: Parameters) -> Noise:
    return Noise.of(ring=parameters.ring, scale=parameters.scale)


def _vector(operand: object) -> Vector:
    if not isinstance(operand, Vector):
        raise BadInput("ciphertext", type(operand).__name__, "is of another backend", "keep to one evaluator")
    return operand


def _in_range(level: int, parameters: Parameters) -> None:
    if not 0 <= level <= parameters.levels:
        raise BadInput("level", level, f"is not in 0 to {parameters.levels}", "choose one of the parameters")


def _sealed(key: str, parameters: Parameters, vector: Vector) -> bytes:
    header = {"key": key, "parameters": fingerprint(parameters), "level": vector.level}
    return seal("ciphertext", header, vector.values.astype("<f8").tobytes())


def _opened(key: str, parameters: Parameters, content: bytes) -> Vector:
    expected = {"key": key, "parameters": fingerprint(parameters)}
    header, payload = unseal("ciphertext", content, "ciphertext", expected)
    values = np.frombuffer(payload, dtype="<f8").astype(np.float64)
    return Vector(values=padded(values, parameters.slots), level=int(header["level"]))
