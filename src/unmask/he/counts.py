"""What a circuit did, operation by operation."""

from dataclasses import dataclass, fields


@dataclass(kw_only=True)
class Counts:
    """Operations of an evaluator since it was made; the same for every backend.

    Args:
        additions: of two ciphertexts, or of a ciphertext and a vector or constant.
        plain_products: of a ciphertext and an encoded vector.
        scalar_products: of a ciphertext and a constant.
        products: of two ciphertexts, before relinearisation.
        relinearisations: key switches after products; fewer than products where a sum shares one.
        rotations: alone, each with a decomposition of its own.
        hoisted: rotations that share the decomposition of their ciphertext.
        decompositions: shared ones.
        rescales: divisions by the scale, one level each.
        encodings: vectors encoded as plaintexts.
        bootstraps: refreshed ciphertexts.
    """

    additions: int = 0
    plain_products: int = 0
    scalar_products: int = 0
    products: int = 0
    relinearisations: int = 0
    rotations: int = 0
    hoisted: int = 0
    decompositions: int = 0
    rescales: int = 0
    encodings: int = 0
    bootstraps: int = 0

    @property
    def key_switches(self) -> int:
        """Everything that multiplies by a key, bootstraps aside."""
        return self.rotations + self.hoisted + self.relinearisations

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})
