"""Read a private text off what its store of records answers, or off a released state: by span, then by matching."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.activations.activation_target import blanks
from unmask.attacks.shared.records import Records
from unmask.attacks.vocabulary_test import vocabulary_distances
from unmask.errors import BadInput
from unmask.shared import StoreReads
from unmask.subspace import row_space

SOLVED = 1e-6
"""Relative residual below which the guess is what was seen, up to its rounding to float32."""


@dataclass(frozen=True, kw_only=True)
class RecordMatch:
    """Name each record by the span of what is seen, then exchange tokens while the replay comes nearer.

    Answers and sums over records are combinations of the records' values, so their rows span these while there are
    fewer records than a value is wide: one product tests every token at every position. With noise, or more records,
    each position in turn takes the token whose replay lies nearest to what was seen. All that the mechanism makes
    public is used: its queries or features, its clipping, and that its noise is Gaussian, so that the nearest replay
    is the likeliest one.

    Args:
        name: registered name.
        source: publication.
        sweeps: at most so many turns over all positions.

    Raises:
        BadInput: if there is no sweep.

    Source:
        This project's; least squares over one record at a time is iterated conditional modes (Besag 1986).
    """

    name: str = field(default="record-match")
    source: str = field(default="Besag 1986 for the search, and this project")
    sweeps: int = field(default=10)

    def __post_init__(self) -> None:
        if self.sweeps < 1:
            raise BadInput("setting sweeps", self.sweeps, "is below 1", "give at least 1")

    def run(self, observation: StoreReads, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the guess by span, and a nearer one after every position that was tried.

        Args:
            observation: what was seen.
            generator: not used: nothing here is left to chance.
        """
        model, known = observation.model, observation.knowledge
        records = Records.of(model, observation.site, known)
        if records is None:
            yield Reconstruction(tokens=(), loss=float("inf"), note="records are no closed form", done=True)
            return
        seen = observation.tensors[observation.site.name].double()
        search = _Search(records, seen, *blanks(model.vocabulary, known.length))
        for guess, note in search.starts():
            yield search.judged(guess, note)
            if search.residual(guess) <= SOLVED:
                return
        for sweep in range(self.sweeps):
            before = search.ids.clone()
            for position in search.free.nonzero()[:, 0].tolist():
                search.improve(position)
                # Ends when nothing moved; until then every position is a place to stop.
                yield search.judged(search.ids, f"{sweep + 1} sweeps")
            if sweep and torch.equal(before, search.ids):
                break


class _Search:
    """One token at a time.

    Args:
        records: what each token would put into the store.
        seen: (m, w) or (m, w + 1).
        ids: (n,) with the known tokens in place.
        free: (n,) where it is unknown.
        allowed: what may stand there.
    """

    def __init__(self, records: Records, seen: Tensor, ids: Tensor, free: Tensor, allowed: Tensor) -> None:
        self.records, self.seen, self.ids, self.free, self.allowed = records, seen, ids.clone(), free, allowed
        self.known: dict[int, tuple[Tensor, Tensor]] = {}
        codes, factors = records.entries(self.ids, torch.arange(len(ids)))
        # A position that was not tried yet stands for the mean of all tokens.
        for position in free.nonzero()[:, 0].tolist():
            every = self._candidates(position)
            codes[position], factors[position] = every[0].mean(0), every[1].mean(0)
        self.codes, self.factors = codes, factors

    def starts(self) -> Iterator[tuple[Tensor, str]]:
        """Yield the guess by the span of the values, if they leave a direction free."""
        weight, bias = self.records.value
        width = len(weight)
        noise = self.records.knowledge.deviation
        space = row_space(self.seen[:, :width], noise=noise)
        if not 0 < space.rank < width or len(self.ids) >= width:
            return
        # Of `W x + b` and not of W x: b is moved into x.
        shift = -torch.linalg.lstsq(weight.double(), bias.double()).solution.to(weight)
        table = self.records.table
        distances = vocabulary_distances(table, space, len(self.ids), reference=shift, lift=weight)[self.allowed]
        if table.position is None:
            # Without positions a store has no order: the tokens that are in it, each once.
            best = distances[:, 0].topk(len(self.ids), largest=False).indices
        else:
            best = distances.argmin(0)
        guess = torch.where(self.free, self.allowed[best], self.ids)
        yield guess, "span of the values"
        if self.residual(guess) < self.residual(None):
            self.ids = guess
            self.codes, self.factors = self.records.entries(guess, torch.arange(len(guess)))

    def improve(self, position: int) -> None:
        """Put the token at a position whose replay lies nearest, the others as they are."""
        codes, factors = self._candidates(position)
        rest = self.codes.T @ self.factors - torch.outer(self.codes[position], self.factors[position])
        best = int(self.records.distances(self.seen, rest, codes, factors).argmin())
        self.ids[position] = self.allowed[best]
        self.codes[position], self.factors[position] = codes[best], factors[best]

    def residual(self, ids: Tensor | None) -> float:
        """Return `||replay - seen|| / ||seen||` of ids (n,), or of the present state."""
        entries = (self.codes, self.factors) if ids is None else self.records.entries(ids, torch.arange(len(ids)))
        return float((self.records.shown(*entries) - self.seen).norm() / self.seen.norm().clamp_min(1e-30))

    def judged(self, ids: Tensor, note: str) -> Reconstruction:
        """Return ids (n,) as a guess with the residual of their replay."""
        residual = self.residual(ids)
        solved = residual <= SOLVED and self.records.knowledge.exact
        return Reconstruction(tokens=(tuple(ids.tolist()),), loss=residual, residual=residual, note=note, done=solved)

    def _candidates(self, position: int) -> tuple[Tensor, Tensor]:
        if position not in self.known:
            self.known[position] = self.records.entries(self.allowed, torch.tensor(position))
        return self.known[position]
