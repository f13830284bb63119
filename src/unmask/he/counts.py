"""What a circuit did, operation by operation; every backend counts with the same words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from unmask.he.linear_map import LinearMap


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

    def multiplied(self, pairs: int) -> None:
        """Count a sum of products of two ciphertexts."""
        self.products += pairs
        self.additions += pairs - 1
        self.relinearisations += 1
        self.rescales += 1

    def multiplied_plain(self) -> None:
        """Count one product with an encoded vector."""
        self.plain_products += 1
        self.rescales += 1

    def combined(self, terms: int, constant: float) -> None:
        """Count a weighted sum."""
        self.scalar_products += terms
        self.additions += terms - 1 + bool(constant)
        self.rescales += 1

    def turned(self, steps: Iterable[int]) -> None:
        """Count rotations of one ciphertext that share a decomposition; step 0 is none."""
        distinct = len(set(steps) - {0})
        self.hoisted += distinct
        self.decompositions += bool(distinct)

    def prepared(self, linear_map: LinearMap) -> None:
        """Count the encodings of a map."""
        self.encodings += len(linear_map.diagonals) + (linear_map.bias is not None)

    def mapped(self, maps: Sequence[tuple[LinearMap, bool]]) -> None:
        """Count maps of one ciphertext, each with whether it is streamed."""
        self.turned(baby for linear_map, _ in maps for baby in linear_map.babies)
        for linear_map, streamed in maps:
            terms = len(linear_map.diagonals)
            self.plain_products += terms
            self.additions += terms - 1 + (linear_map.bias is not None)
            self.rotations += len(set(linear_map.giants) - {0})
            self.rescales += 1
            if streamed:
                self.prepared(linear_map)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})
