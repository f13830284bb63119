"""Columns of a factor that vanish wherever a neuron is closed: the search for one image at a time."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

GROWTH, STEP = 10, 0.02
"""Times that more neurons are tried as closed, and how many more, as a share."""

WIDEST, TRIES = 4, 300
"""Columns at most that a mixture is taken apart into, and choices of neurons tried."""

SAME = 0.9999
"""Cosine from which two null vectors are one: those of images that are alike come near 0.98."""

SETTLED = 1 - 1e-10
"""Cosine with the vector of the step before from which a start has ended."""

BLUR = 3e-4
"""Shift of a Gram matrix, as a share, so that what is left of a column not known exactly is no null vector."""

CHANCE = 0.01
"""Share of a mixture's zeros at most that its columns do not share: they cancel there."""


class Way(StrEnum):
    """How the starts of a round move.

    `PLAIN`: by the three steps. They end again and again at columns that draw many guesses.
    `APART`: the same, but columns found before are taken out, so that no start ends at them.
    `DIRECT`: not at all. In a small row space guesses hit every image, and steps lead them astray.
    """

    PLAIN = "plain"
    APART = "apart"
    DIRECT = "direct"


@dataclass(frozen=True, kw_only=True)
class ClosedSearch:
    """Find directions v of a column space with `Q v = 0` on all neurons that one image never opens.

    `U = C [X, 1]` with `c_ki = 0` where neuron k is closed for image i. A column of C is `Q v`, so v is
    the null vector of the rows of Q that belong to closed neurons. Which these are depends on the image
    through public weights: they have `w_k . x + b_k < 0`. So images are guessed in the row space of what
    known columns leave, and three steps repeat: the most closed neurons by the public weights; their
    smallest singular vector; the image whose half-space fits its support best, by least squares on the
    public weights. Then the support alone decides, and a null vector proves itself.

    Args:
        starts: images guessed at once.
        steps: times that the three steps are repeated, and then those without the image.
        share: share of the neurons taken to be closed.
        proof: largest norm of `Q v` on closed neurons for a null vector of norm 1.
    """

    starts: int = 40
    steps: int = 15
    share: float = 0.3
    proof: float = 3e-4

    def round(
        self,
        columns: Tensor,
        features: Tensor,
        size: Tensor,
        bright: Tensor,
        generator: torch.Generator,
        known: Tensor,
        way: Way,
    ) -> Tensor:
        """Return null vectors (r, P), all different, that one round of starts proves.

        Args:
            columns: (K, r) orthonormal Q.
            features: (K, m) public weights times a basis of the row space that is searched.
            size: (K,) typical size of a column's entry at an open neuron.
            bright: (m,) coordinates of an all-white image; guesses point its way.
            generator: source of the guesses.
            known: (r, f) columns found before.
            way: how starts move.
        """
        basis = torch.linalg.qr(known)[0] if way is Way.APART and known.shape[1] else None
        count, inverse = max(columns.shape[1] + 1, int(self.share * len(columns))), torch.linalg.pinv(features)
        guess = torch.randn(features.shape[1], self.starts, generator=generator, dtype=columns.dtype)
        guess = guess * (bright @ guess).sign()
        vectors = torch.zeros(self.starts, columns.shape[1], dtype=columns.dtype)
        for _ in range(1 if way is Way.DIRECT else self.steps):
            closed = (features @ guess).topk(count, dim=0, largest=False).indices.T
            vectors, _ = _null(columns[closed], basis)
            support = (columns @ vectors.T).abs() / size[:, None]
            support = torch.minimum(support, support.quantile(0.75, dim=0))
            guess = inverse @ (support - support.mean(0))
            guess = guess * (bright @ guess).sign()
        # From here the support alone decides, so that neurons that training opened or closed drop out.
        vectors = self._settled(columns, size, vectors)
        vectors = distinct(known.T, vectors)[known.shape[1] :]
        if not len(vectors):
            return vectors.T
        vectors, values = self._grown(columns, size, vectors)
        found = vectors[:0]
        for vector in vectors[values < self.proof]:
            found = distinct(found, self._sharpened(columns, vector, generator)[None])
        return found.T

    def settle(self, columns: Tensor, size: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the different null vectors (S, r) near given ones whose supports are smallest, and their values (S,).

        Args:
            columns: (K, r).
            size: (K,).
            vectors: (T, r) of norm 1.
        """
        return self._grown(columns, size, self._settled(columns, size, vectors))

    def _settled(self, columns: Tensor, size: Tensor, vectors: Tensor) -> Tensor:
        """Return the different vectors (S, r) at which the null vectors of the smallest support end."""
        for _ in range(self.steps):
            before = vectors
            vectors, _ = self._trimmed(columns, size, vectors, self.share)
            if float((vectors * before).sum(1).abs().min()) > SETTLED:
                break
        # Most starts end at one of a few columns.
        return distinct(vectors[:0], vectors)

    def _grown(self, columns: Tensor, size: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return null vectors of as many neurons as they can have.

        Two images that are alike leave many neurons closed together, and on these any mixture of their
        columns vanishes. Only a column alone vanishes on all that its image leaves closed.
        """
        vectors, values = self._trimmed(columns, size, vectors, self.share)
        for step in range(1, GROWTH + 1):
            share, more, worth = self.share + STEP * step, vectors, values
            for _ in range(3):
                more, worth = self._trimmed(columns, size, more, share)
            better = worth < self.proof
            vectors, values = torch.where(better[:, None], more, vectors), torch.where(better, worth, values)
        return vectors, values

    def _sharpened(self, columns: Tensor, vector: Tensor, generator: torch.Generator) -> Tensor:
        """Return, of the null vectors that share a vector's zeros, the one with the most zeros of its own.

        If the zeros leave more than one null vector, this is a mixture of columns of images that are
        alike. In their space a neuron that is closed for one image only leaves a vector at right angles
        to that image's: few such neurons determine it, and it then vanishes on all the others.
        """
        tolerance = 4 * self.proof * len(columns) ** -0.5
        plane = self._plane(columns[(columns @ vector).abs() < tolerance])
        if plane.shape[1] < 2 or plane.shape[1] > WIDEST:
            return vector
        rows = columns @ plane
        rows = rows[rows.norm(dim=1) > tolerance]
        picks = torch.randint(len(rows), (TRIES, plane.shape[1] - 1), generator=generator)
        tried = torch.linalg.svd(rows[picks])[2][:, -1]
        best = tried[((rows @ tried.T).abs() < tolerance).sum(0).argmax()]
        return plane @ best

    def _plane(self, rows: Tensor) -> Tensor:
        """Return the null vectors (r, p) of rows, a few of which are zeros of a mixture by chance and do not count."""
        rank = 1
        while True:
            right = torch.linalg.svd(rows, full_matrices=False)[2]
            if rank > WIDEST or rank == len(right):
                return right[-rank:].T
            by_size = (rows @ right[-rank - 1]).abs().argsort()
            kept = rows[by_size[: int((1 - CHANCE) * len(rows))]]
            if len(kept) <= rows.shape[1] or float(torch.linalg.svdvals(kept)[-rank - 1]) >= 4 * self.proof:
                return right[-rank:].T
            rows, rank = kept, rank + 1

    def _trimmed(self, columns: Tensor, size: Tensor, vectors: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Return the null vectors of the rows on which vectors (S, r) are smallest, and their values."""
        count = max(columns.shape[1] + 1, int(share * len(columns)))
        return _null(columns[((columns @ vectors.T).abs() / size[:, None]).topk(count, dim=0, largest=False).indices.T])


def distinct(found: Tensor, new: Tensor) -> Tensor:
    """Return unit vectors (S, r) with those of others added that are none of them.

    Args:
        found: (S, r).
        new: (T, r).
    """
    for vector in new:
        if not len(found) or float((found @ vector).abs().max()) < SAME:
            found = torch.cat([found, vector[None]])
    return found


def _null(rows: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return vectors (S, r) of least `||A v|| / ||P v||` of matrices A (S, n, r), and `||A v||` at norm 1.

    P takes out known columns (r, f), at which a start would end again; without any these are the last
    right singular vectors. By inverse iteration `v <- (A^T A)^-1 P v`.
    """
    gram = rows.mT @ rows
    # Rows of neurons that no image opened are zero: any vector is their null vector.
    share = 1e-9 if basis is None else BLUR
    shift = share * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    factor = torch.linalg.cholesky(gram + shift[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype))
    vector = torch.ones(*gram.shape[:2], 1, dtype=gram.dtype)
    for _ in range(4):
        if basis is not None:
            vector = vector - basis @ (basis.T @ vector)
        vector = torch.cholesky_solve(vector, factor)
        vector = vector / vector.norm(dim=1, keepdim=True)
    return vector[:, :, 0], (rows @ vector)[:, :, 0].norm(dim=1)
