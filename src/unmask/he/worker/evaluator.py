"""The server's commands: everything that needs public keys only."""

import os
from collections.abc import Callable
from typing import Any

import openfhe

from . import context


class Map:
    """A linear map: its diagonals as vectors or encoded, by giant and baby step."""

    def __init__(self, terms: dict[int, list[Any]], bias: Any, level: int) -> None:
        self.terms = terms
        self.bias = bias
        self.level = level


class Evaluator:
    """Objects by number, and the operations on them.

    Operands come at levels that fit: whoever sends the commands keeps track of them.
    """

    def __init__(self) -> None:
        self._context: Any = None
        self._given: dict[str, Any] = {}
        self._held: dict[int, Any] = {}
        self._zero: Any = None

    def commands(self) -> dict[str, Callable[..., Any]]:
        """Return the commands by name."""
        names = "open encode prepare add subtract add_plain add_constant multiply_plain multiply_sum combine"
        names += " rotate rotate_many linear drop bootstrap serialise load"
        return {name: getattr(self, name) for name in names.split()}

    def forget(self, numbers: list[int]) -> None:
        """Let go of objects; unknown numbers are those of operations that failed."""
        for number in numbers:
            self._held.pop(number, None)

    def open(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Make the context and read the public keys.

        Args:
            header: `parameters`, `folder`, `files`.
            blobs: none.

        Raises:
            ValueError: if a file holds no keys.
        """
        self._given = header["parameters"]
        self._context = context.make(self._given, "all")
        for name in header["files"]:
            path = os.path.join(header["folder"], name)
            if name == "public.key":
                continue
            many = name != "relinearisation.key"
            read = self._context.DeserializeEvalAutomorphismKey if many else self._context.DeserializeEvalMultKey
            if not read(path, openfhe.BINARY):
                raise ValueError(f"{name} is no key file of OpenFHE")
        self._zero = self._nothing()

    def _nothing(self) -> Any:
        """Return a ciphertext of two zero polynomials, which needs some key to be made and is under none."""
        slots = self._context.GetRingDimension() // 2
        plain = self._context.MakeCKKSPackedPlaintext([0.0], 1, 0, None, slots)
        some = self._context.Encrypt(self._context.KeyGen().publicKey, plain)
        return self._context.EvalSub(some, some)

    def encode(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Encode a vector at `level` as number `to`."""
        self._held[header["to"]] = self._encoded(blobs[0], header["level"])

    def prepare(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Take a linear map.

        Args:
            header: `to`, `level`, `streamed`, `steps` as pairs (giant, baby), `bias` whether there is one.
            blobs: (terms, slots) and the bias.
        """
        level, streamed = header["level"], header["streamed"]
        terms: dict[int, list[Any]] = {}
        for (giant, baby), vector in zip(header["steps"], blobs[0], strict=False):
            # A copy, so that the block in which it came can go.
            held = vector.copy() if streamed else self._encoded(vector, level)
            terms.setdefault(giant, []).append((baby, held))
        bias = self._encoded(blobs[1], level - 1) if header["bias"] else None
        self._held[header["to"]] = Map(terms, bias, level)

    def add(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Add two ciphertexts."""
        self._held[header["to"]] = self._context.EvalAdd(*self._two(header))

    def subtract(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Subtract two ciphertexts."""
        self._held[header["to"]] = self._context.EvalSub(*self._two(header))

    def add_plain(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Add a ciphertext and an encoded vector."""
        self._held[header["to"]] = self._context.EvalAdd(*self._two(header))

    def add_constant(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Add a number to every slot."""
        self._held[header["to"]] = self._context.EvalAdd(self._held[header["of"][0]], header["constant"])

    def multiply_plain(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Multiply a ciphertext and an encoded vector."""
        self._held[header["to"]] = self._context.Rescale(self._context.EvalMult(*self._two(header)))

    def multiply_sum(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Add products; one relinearisation."""
        pairs = list(zip(header["of"][::2], header["of"][1::2], strict=False))
        if len(pairs) == 1:
            total = self._product(*pairs[0])
        else:
            total = None
            for a, b in pairs:
                product = self._context.EvalMultNoRelin(self._held[a], self._held[b])
                total = product if total is None else self._context.EvalAdd(total, product)
            total = self._context.Relinearize(total)
        self._held[header["to"]] = self._context.Rescale(total)

    def _product(self, a: int, b: int) -> Any:
        if a == b:
            return self._context.EvalSquare(self._held[a])
        return self._context.EvalMult(self._held[a], self._held[b])

    def combine(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Add ciphertexts times numbers, and a constant."""
        total = None
        for number, weight in zip(header["of"], header["weights"], strict=False):
            part = self._context.EvalMult(self._held[number], weight)
            total = part if total is None else self._context.EvalAdd(total, part)
        total = self._context.Rescale(total)
        constant = header["constant"]
        self._held[header["to"]] = self._context.EvalAdd(total, constant) if constant else total

    def rotate(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Rotate by `step`."""
        self._held[header["to"]] = self._context.EvalRotate(self._held[header["of"][0]], header["step"])

    def rotate_many(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Rotate by each of `steps`, none of them 0, into the numbers `to`."""
        turned = self._turned(self._held[header["of"][0]], header["steps"])
        for number, step in zip(header["to"], header["steps"], strict=False):
            self._held[number] = turned[step]

    def linear(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Apply the maps `of[1:]` to the ciphertext `of[0]`, into the numbers `to`."""
        maps = [self._held[number] for number in header["of"][1:]]
        babies = {baby for one in maps for terms in one.terms.values() for baby, _ in terms}
        a = self._held[header["of"][0]]
        turned = self._turned(a, sorted(babies - {0}))
        turned[0] = a
        for number, one in zip(header["to"], maps, strict=False):
            self._held[number] = self._applied(one, turned)

    def _applied(self, one: Map, turned: dict[int, Any]) -> Any:
        self._context.GetCyclotomicOrder()
        still = wide = None
        for giant, terms in one.terms.items():
            inner = None
            for baby, held in terms:
                plain = held if isinstance(held, openfhe.Plaintext) else self._encoded(held, one.level)
                product = self._context.EvalMult(turned[baby], plain)
                if inner is None:
                    inner = product
                else:
                    self._context.EvalAddInPlace(inner, product)
            if giant == 0:
                still = inner
                continue
            # Rotated sums stay in the modulus that key switching works in, so that all share one way down.
            parts = self._context.EvalFastRotationPrecompute(inner)
            step = self._context.EvalFastRotationExt(inner, giant, parts, True)
            wide = step if wide is None else self._context.EvalAdd(wide, step)
        total = None if wide is None else self._context.KeySwitchDown(wide)
        if still is not None:
            total = still if total is None else self._context.EvalAdd(total, still)
        total = self._context.Rescale(total)
        return total if one.bias is None else self._context.EvalAdd(total, one.bias)

    def drop(self, header: dict[str, Any], blobs: list[Any]) -> None:
        """Take `by` levels off."""
        self._held[header["to"]] = self._context.LevelReduce(self._held[header["of"][0]], None, header["by"])

    def bootstrap(self, header: dict[str, Any], blobs: list[Any]) -> Any:
        """Refresh; the levels that are left are told."""
        fresh = self._context.EvalBootstrap(self._held[header["of"][0]])
        while fresh.GetNoiseScaleDeg() > 1:
            fresh = self._context.Rescale(fresh)
        self._held[header["to"]] = fresh
        return {"level": self._level(fresh)}, []

    def serialise(self, header: dict[str, Any], blobs: list[Any]) -> Any:
        """Return a ciphertext as bytes."""
        return {}, [openfhe.Serialize(self._held[header["of"][0]], openfhe.BINARY)]

    def load(self, header: dict[str, Any], blobs: list[Any]) -> Any:
        """Take a ciphertext; its level is told, as it may be another than was announced.

        Raises:
            ValueError: if it is of other parameters or not as fresh ones are.
        """
        ciphertext = openfhe.DeserializeCiphertextString(blobs[0], openfhe.BINARY)
        sound = len(ciphertext.GetElements()) == 2 and ciphertext.GetNoiseScaleDeg() == 1
        if not sound or ciphertext.GetCryptoContext() != self._context:
            raise ValueError("it is no fresh ciphertext of these parameters")
        # A ciphertext that was read carries ring parameters of its own, equal to the context's but not the same
        # object, and so does all that comes of it: every product with an encoded vector then takes seven times
        # as long. A sum takes the parameters of its first term.
        zero = (
            self._context.LevelReduce(self._zero, None, ciphertext.GetLevel()) if ciphertext.GetLevel() else self._zero
        )
        zero.SetKeyTag(ciphertext.GetKeyTag())
        self._held[header["to"]] = self._context.EvalAdd(zero, ciphertext)
        return {"level": self._level(ciphertext)}, []

    def _level(self, ciphertext: Any) -> int:
        return int(self._given["levels"] - ciphertext.GetLevel())

    def _two(self, header: dict[str, Any]) -> Any:
        return self._held[header["of"][0]], self._held[header["of"][1]]

    def _encoded(self, vector: Any, level: int) -> Any:
        return self._context.MakeCKKSPackedPlaintext(vector, 1, self._given["levels"] - level, None, len(vector))

    def _turned(self, a: Any, steps: list[int]) -> dict[int, Any]:
        if not steps:
            return {}
        order = self._context.GetCyclotomicOrder()
        parts = self._context.EvalFastRotationPrecompute(a)
        return {step: self._context.EvalFastRotation(a, step, order, parts) for step in steps}
