"""Which words of a batch stand together: each sentence's own gradients at its words tell."""

from dataclasses import dataclass, field

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from unmask.attacks.deltas.rows import Rows
from unmask.attacks.layout import Layout
from unmask.observation import Observation
from unmask.public import Place

FORCE = 1e3
"""Reward that makes every word that occurred once be used."""


@dataclass(kw_only=True)
class Assembly:
    """Words on their positions, shared out to sentences position by position.

    The row of a word that occurred once is its own `dL/dx` summed over the steps, and depends on its
    sentence alone. A state is a word for every free slot; its cost is the sum over words that occurred
    once of `1 - cos(dL/dx at the public start, the row)`. Given the rest, the words of one position
    are assigned to sentences at least cost, all at once. A sentence whose words all agree proves itself:
    it is kept, and its words are no longer free.

    Args:
        observation: what was seen.
        rows: words and positions.
        layout: the batch with blanks.
        position: the table of positions.
        sure: mean cost of a sentence's words below which it is kept.
    """

    observation: Observation
    rows: Rows
    layout: Layout
    position: Place
    sure: float
    ids: Tensor = field(init=False)
    free: Tensor = field(init=False)
    left: dict[int, int] = field(init=False)
    _known: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.ids, self.free, self.left = self.layout.ids.clone(), self.layout.free.clone(), dict(self.rows.placed)
        table = torch.zeros(self.observation.model.embedding().shape)
        words = torch.tensor(sorted(self.left))
        rows = dict(zip(self.rows.words.tolist(), self.rows.changes.float(), strict=True))
        table[words] = torch.nn.functional.normalize(torch.stack([rows[int(word)] for word in words]), dim=1)
        self._known = table

    @property
    def fillers(self) -> list[int]:
        """Words of which the positions are not told, and which can stand anywhere."""
        special = self.observation.model.vocabulary.special
        return [word for word in self.rows.repeated if word not in special]

    def start(self, generator: torch.Generator) -> None:
        """Fill every free slot at random: words on their positions, and repeated words where none is left.

        Args:
            generator: source of the order.
        """
        fillers = self.fillers or list(self.rows.placed)
        for at in self.positions():
            free = self.free[:, at].nonzero()[:, 0]
            order = free[torch.randperm(len(free), generator=generator)].tolist()
            here = self.here(at)
            picks = torch.randint(len(fillers), (len(order),), generator=generator).tolist()
            for k, sentence in enumerate(order):
                self.ids[sentence, at] = here[k] if k < len(here) else fillers[picks[k]]

    def positions(self) -> list[int]:
        """Return the positions with free slots, those with most placed words first."""
        found = self.free.any(0).nonzero()[:, 0].tolist()
        return sorted(found, key=lambda at: -len(self.here(at)))

    def here(self, at: int) -> list[int]:
        """Return the placed words of a position, as many as it has slots."""
        return [word for word, where in self.left.items() if where == at][: int(self.free[:, at].sum())]

    def improve(self, at: int) -> bool:
        """Assign the words of one position anew; say whether anything changed.

        Args:
            at: the position.
        """
        free, here, fillers = self.free[:, at].nonzero()[:, 0].tolist(), self.here(at), self.fillers
        options = torch.tensor(here + fillers)
        if len(options) < 2 or not free:
            return False
        costs = torch.stack([self._costs(sentence, at, options) for sentence in free])
        table, spare = costs[:, : len(here)] - FORCE, len(free) - len(here)
        filled = costs[:, len(here) :].min(1) if fillers else None
        if filled is not None and spare:
            table = torch.cat([table, filled.values[:, None].expand(-1, spare)], 1)
        before = self.ids[:, at].clone()
        for row, column in zip(*linear_sum_assignment(table.numpy()), strict=True):
            if column < len(here):
                self.ids[free[row], at] = here[column]
            elif filled is not None:
                self.ids[free[row], at] = fillers[int(filled.indices[row])]
        return not torch.equal(before, self.ids[:, at])

    def keep(self) -> int:
        """Keep the sentences that prove themselves, and return how many are kept by now."""
        for sentence in range(len(self.ids)):
            known = [w for w in self.ids[sentence, : self.layout.lengths[sentence]].tolist() if w in self.left]
            if self.free[sentence].any() and len(known) > 1 and self.costs()[sentence] < self.sure * len(known):
                self.free[sentence] = False
                for word in known:
                    self.left.pop(word, None)
        return int((~self.free.any(1)).sum())

    def costs(self) -> list[float]:
        """Return the cost of every sentence."""
        return [float(self._costs(sentence, None, None)[0]) for sentence in range(len(self.ids))]

    def cost(self) -> float:
        """Return the mean over words that occurred once of 1 less the cosine."""
        return max(0.0, sum(self.costs())) / max(1, len(self.rows.placed))

    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """Return the sentences."""
        return tuple(tuple(row[:length].tolist()) for row, length in zip(self.ids, self.layout.lengths, strict=True))

    def _costs(self, sentence: int, at: int | None, options: Tensor | None) -> Tensor:
        """Return the cost (C,) of a sentence with each of the options at a position."""
        model, length = self.observation.model, self.layout.lengths[sentence]
        ids = self.ids[sentence, :length].repeat(1 if options is None else len(options), 1)
        if at is not None and options is not None:
            ids[:, at] = options
        labels = self.observation.knowledge.labels
        target = torch.full((len(ids),), 0 if labels is None else labels[sentence])
        # Each position has a row of its own, so that its gradient is that of the one token there.
        table = model.gradients(ids, target, [self.position])[self.position.name]
        flow = table[:, self.rows.first : self.rows.first + length]
        known = self._known[ids]
        cosine = (torch.nn.functional.normalize(flow.float(), dim=2) * known).sum(2)
        # Of two classes the gradients differ in sign, so an unknown one costs the sign alone.
        cosine = cosine.abs() if labels is None else cosine
        return ((1 - cosine) * known.any(2)).sum(1).double()
