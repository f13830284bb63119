"""OpenFHE behind the protocol: every operation is a command to a worker process, which nothing here waits for."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.he import backend, series
from unmask.he.counts import Counts
from unmask.he.envelope import fingerprint, seal, unseal
from unmask.he.errors import BackendError, LevelExhausted, NoKey
from unmask.he.linear_map import LinearMap
from unmask.he.parameters import Parameters
from unmask.he.process import Worker
from unmask.he.simulator import fits, lower, padded
from unmask.poly.polynomial import Polynomial

Array = NDArray[np.float64]
HUGE = 1e6
"""A decrypted value above this is the noise of a wrong key or of a value that outgrew the modulus."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Remote:
    """An object in the worker: a ciphertext, an encoded vector or a linear map."""

    number: int
    level: int
    kind: str
    owner: int
    linear_map: LinearMap | None = field(default=None)


class OpenFheKeyHolder:
    """Encrypts and decrypts in a worker that has the secret key.

    Args:
        worker: with the role `client`.
        parameters: of the keys.
        key: name of the key.
        secret: the secret key, as the worker wrote it.
        public: the public key.
    """

    def __init__(self, worker: Worker, parameters: Parameters, key: str, secret: bytes, public: bytes) -> None:
        self.parameters = parameters
        self._worker = worker
        self._key = key
        worker.ask("open", {"parameters": as_given(parameters)}, [secret, public])

    def encrypt(self, values: Array, level: int | None = None) -> bytes:
        """See `backend.KeyHolder`."""
        level = self.parameters.levels if level is None else level
        _, (content,) = self._worker.ask("encrypt", {"level": level}, [padded(values, self.parameters.slots)])
        return _sealed(self._key, self.parameters, level, content)

    def decrypt(self, ciphertext: bytes) -> Array:
        """See `backend.KeyHolder`.

        Raises:
            BadInput: if it is not of this key, damaged, or decrypts to noise.
        """
        _, payload = _unsealed(self._key, self.parameters, ciphertext)
        try:
            _, (values,) = self._worker.ask("decrypt", {}, [payload])
        except BackendError as error:
            raise BadInput("ciphertext", *_senseless(f"cannot be decrypted ({error})")) from error
        if not np.isfinite(values).all() or np.abs(values).max() > HUGE:
            raise BadInput("ciphertext", *_senseless("decrypts to noise"))
        return np.asarray(values, dtype=np.float64)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()


class OpenFheEvaluator:
    """Computes in a worker that has public keys only.

    Args:
        worker: with the role `server`.
        parameters: of the keys.
        key: name of the key.
        folder: where the public keys are.
        files: their names.
        rotations: steps that the keys are for.
    """

    def __init__(
        self,
        worker: Worker,
        parameters: Parameters,
        *,
        key: str,
        folder: Path,
        files: Sequence[str],
        rotations: frozenset[int],
    ) -> None:
        self.parameters = parameters
        self.slots = parameters.slots
        self.counts = Counts()
        self._worker = worker
        self._key = key
        self._rotations = rotations
        header = {"parameters": as_given(parameters), "folder": str(folder), "files": list(files)}
        worker.ask("open", header)

    def encode(self, values: Array, level: int) -> Remote:
        """See `backend.Evaluator`."""
        lower(self.parameters.levels, level)
        self.counts.encodings += 1
        made = self._new("plaintext", level)
        self._worker.tell("encode", {"to": made.number, "level": level}, [padded(values, self.slots)])
        return made

    def prepare(self, linear_map: LinearMap, level: int, *, streamed: bool = False) -> Remote:
        """See `backend.Evaluator`."""
        fits(linear_map, self.slots)
        lower(self.parameters.levels, level)
        self._needs(level)
        self._has_keys(linear_map.steps)
        # Only the shape is kept here: the diagonals are in the worker from now on.
        steps, bias = list(linear_map.diagonals), linear_map.bias
        nothing = np.zeros(self.slots)
        shape = LinearMap(diagonals=dict.fromkeys(steps, nothing), bias=None if bias is None else nothing)
        if not streamed:
            self.counts.prepared(linear_map)
        made = self._new("streamed map" if streamed else "map", level, shape)
        header = {"to": made.number, "level": level, "steps": steps, "streamed": streamed, "bias": bias is not None}
        blobs = [np.stack(list(linear_map.diagonals.values()))] + ([] if bias is None else [bias])
        self._worker.tell("prepare", header, blobs)
        return made

    def add(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Remote:
        """See `backend.Evaluator`."""
        self.counts.additions += 1
        return self._told("add", [a, b], min(a.level, b.level))

    def subtract(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Remote:
        """See `backend.Evaluator`."""
        self.counts.additions += 1
        return self._told("subtract", [a, b], min(a.level, b.level))

    def add_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Remote:
        """See `backend.Evaluator`."""
        self.counts.additions += 1
        return self._told("add_plain", [self.drop(a, b.level), b], b.level)

    def add_constant(self, a: backend.Ciphertext, constant: float) -> Remote:
        """See `backend.Evaluator`."""
        self.counts.additions += 1
        return self._told("add_constant", [a], a.level, constant=float(constant))

    def multiply_plain(self, a: backend.Ciphertext, b: backend.Plaintext) -> Remote:
        """See `backend.Evaluator`."""
        self._needs(b.level)
        self.counts.multiplied_plain()
        return self._told("multiply_plain", [self.drop(a, b.level), b], b.level - 1)

    def multiply(self, a: backend.Ciphertext, b: backend.Ciphertext) -> Remote:
        """See `backend.Evaluator`."""
        return self.multiply_sum([(a, b)])

    def multiply_sum(self, pairs: Sequence[tuple[backend.Ciphertext, backend.Ciphertext]]) -> Remote:
        """See `backend.Evaluator`."""
        level = min(operand.level for pair in pairs for operand in pair)
        self._needs(level)
        self.counts.multiplied(len(pairs))
        # One object each, so that a square is still seen to be one.
        lowered = {id(operand): self.drop(operand, level) for pair in pairs for operand in pair}
        return self._told("multiply_sum", [lowered[id(operand)] for pair in pairs for operand in pair], level - 1)

    def combine(self, terms: Sequence[backend.Ciphertext], weights: Sequence[float], constant: float = 0.0) -> Remote:
        """See `backend.Evaluator`."""
        level = min(term.level for term in terms)
        self._needs(level)
        self.counts.combined(len(terms), constant)
        dropped = [self.drop(term, level) for term in terms]
        numbers = [float(weight) for weight in weights]
        return self._told("combine", dropped, level - 1, weights=numbers, constant=float(constant))

    def rotate(self, a: backend.Ciphertext, step: int) -> Remote:
        """See `backend.Evaluator`."""
        step %= self.slots
        if step == 0:
            return self._mine(a)
        self._has_keys({step})
        self.counts.rotations += 1
        return self._told("rotate", [a], a.level, step=step)

    def rotate_many(self, a: backend.Ciphertext, steps: Sequence[int]) -> tuple[Remote, ...]:
        """See `backend.Evaluator`."""
        distinct = sorted({step % self.slots for step in steps} - {0})
        self._has_keys(distinct)
        self.counts.turned(distinct)
        made = {step: self._new("ciphertext", a.level) for step in distinct}
        if distinct:
            header = {"to": [made[step].number for step in distinct], "of": [self._mine(a).number], "steps": distinct}
            self._worker.tell("rotate_many", header)
        made[0] = self._mine(a)
        return tuple(made[step % self.slots] for step in steps)

    def linear(self, a: backend.Ciphertext, maps: Sequence[backend.Prepared]) -> tuple[Remote, ...]:
        """See `backend.Evaluator`."""
        held = [_map(self._mine(item), maps[0].level) for item in maps]
        level = maps[0].level
        a = self.drop(a, level)
        self.counts.mapped(held)
        made = tuple(self._new("ciphertext", level - 1) for _ in maps)
        numbers = [a.number, *(self._mine(item).number for item in maps)]
        self._worker.tell("linear", {"to": [one.number for one in made], "of": numbers})
        return made

    def polynomial(self, a: backend.Ciphertext, polynomial: Polynomial) -> backend.Ciphertext:
        """See `backend.Evaluator`."""
        return series.evaluate(self, a, polynomial)

    def drop(self, a: backend.Ciphertext, level: int) -> Remote:
        """See `backend.Evaluator`."""
        lower(a.level, level)
        return self._mine(a) if a.level == level else self._told("drop", [a], level, by=a.level - level)

    def bootstrap(self, a: backend.Ciphertext) -> Remote:
        """See `backend.Evaluator`."""
        self.counts.bootstraps += 1
        made = self._new("ciphertext", self.parameters.refreshed)
        answer, _ = self._worker.ask("bootstrap", {"to": made.number, "of": [self._mine(a).number]})
        left, wanted = int(answer["level"]), self.parameters.refreshed
        _as_planned(left, wanted)
        self.wait()
        if left == wanted:
            return made
        over = Remote(number=made.number, level=left, kind="ciphertext", owner=made.owner)
        return self._told("drop", [over], wanted, by=left - wanted)

    def serialise(self, a: backend.Ciphertext) -> bytes:
        """See `backend.Evaluator`."""
        _, (content,) = self._worker.ask("serialise", {"of": [self._mine(a).number]})
        return _sealed(self._key, self.parameters, a.level, content)

    def load(self, ciphertext: bytes) -> Remote:
        """See `backend.Evaluator`.

        Raises:
            BadInput: if it is not of this key, or damaged.
        """
        header, payload = _unsealed(self._key, self.parameters, ciphertext)
        made = self._new("ciphertext", int(header["level"]))
        try:
            answer, _ = self._worker.ask("load", {"to": made.number}, [payload])
        except BackendError as error:
            raise BadInput("ciphertext", *_senseless(f"is none of this library ({error})")) from error
        _announced(int(answer["level"]), made.level)
        return made

    def wait(self) -> None:
        """See `backend.Evaluator`."""
        self.usage()

    def usage(self) -> dict[str, float]:
        """Return `peak` bytes and `processor` seconds of the worker, and its `clock`, when all is done."""
        answer, _ = self._worker.ask("wait", {})
        return {name: float(value) for name, value in answer.items()}

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def _told(self, command: str, of: Sequence[object], level: int, **more: Any) -> Remote:
        made = self._new("ciphertext", level)
        self._worker.tell(command, {"to": made.number, "of": [self._mine(item).number for item in of], **more})
        return made

    def _new(self, kind: str, level: int, shape: LinearMap | None = None) -> Remote:
        made = Remote(number=self._worker.number(), level=level, kind=kind, owner=id(self), linear_map=shape)
        weakref.finalize(made, self._worker.forget, made.number).atexit = False
        return made

    def _mine(self, item: object) -> Remote:
        if not isinstance(item, Remote) or item.owner != id(self):
            raise BadInput("ciphertext", type(item).__name__, "is of another evaluator", "keep to one evaluator")
        return item

    def _needs(self, level: int) -> None:
        if level < 1:
            raise LevelExhausted("a product needs a level and none is left; plan more levels or a bootstrap")

    def _has_keys(self, steps: Sequence[int] | set[int] | frozenset[int]) -> None:
        for step in steps:
            if step and step not in self._rotations:
                raise NoKey(f"there is no key to rotate by {step}")


def as_given(parameters: Parameters) -> dict[str, Any]:
    """Return parameters as the worker takes them."""
    return parameters.to_json() | {"parts": parameters.parts}


def _map(item: Remote, level: int) -> tuple[LinearMap, bool]:
    if item.linear_map is None or item.level != level:
        raise BadInput("maps", item.kind, "are not all prepared for this level", "prepare all for the same level")
    return item.linear_map, item.kind == "streamed map"


def _as_planned(left: int, wanted: int) -> None:
    if left < wanted:
        raise BackendError(f"the bootstrap left {left} levels where {wanted} were planned")


def _announced(level: int, announced: int) -> None:
    if level != announced:
        raise BadInput("ciphertext", f"level {level}", f"was announced with level {announced}", "send it again")


def _senseless(rule: str) -> tuple[str, str, str]:
    return "of this key", rule, "send the query again"


def _sealed(key: str, parameters: Parameters, level: int, content: bytes) -> bytes:
    return seal("ciphertext", {"key": key, "parameters": fingerprint(parameters), "level": level}, content)


def _unsealed(key: str, parameters: Parameters, content: bytes) -> tuple[dict[str, Any], bytes]:
    return unseal("ciphertext", content, "ciphertext", {"key": key, "parameters": fingerprint(parameters)})
