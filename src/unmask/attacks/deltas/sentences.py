"""Which words of a batch stand together: each sentence's own gradients at its words tell."""

from dataclasses import dataclass, field

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from unmask.attacks.deltas.rows import Rows
from unmask.attacks.layout import Layout
from unmask.observation import Observation

FORCE = 1e3
"""Reward that makes every word that occurred once be used."""


@dataclass(kw_only=True)
class Assembly:
    """Words on their positions, shared out to sentences position by position.

    The row of a word that occurred once is its own `dL/dx` summed over the steps, and depends on its
    sentence alone. A state is a word for every free slot; its cost is the sum over words that occurred
    once of `1 - cos(dL/dx at the public start, the row)`. Given the rest, the words of one position
    are assigned to sentences at least cost, all at once.

    Args:
        observation: what was seen.
        rows: words and positions.
        layout: the batch with blanks.
        ids: (B, n) the state.
    """

    observation: Observation
    rows: Rows
    layout: Layout
    ids: Tensor
    _known: dict[int, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        table = dict(zip(self.rows.words.tolist(), self.rows.changes.float(), strict=True))
        self._known = {word: table[word] / table[word].norm() for word in self.rows.placed}

    def start(self, generator: torch.Generator) -> None:
        """Fill every free slot at random: words on their positions, and repeated words where none is left.

        Args:
            generator: source of the order.
        """
        for at in self.positions():
            free = self.layout.free[:, at].nonzero()[:, 0]
            order = free[torch.randperm(len(free), generator=generator)].tolist()
            here = self.here(at)
            fillers = self.rows.repeated or tuple(self._known)
            picks = torch.randint(len(fillers), (len(order),), generator=generator).tolist()
            for k, sentence in enumerate(order):
                self.ids[sentence, at] = here[k] if k < len(here) else fillers[picks[k]]

    def positions(self) -> list[int]:
        """Return the positions with free slots, those with most placed words first."""
        found = self.layout.free.any(0).nonzero()[:, 0].tolist()
        return sorted(found, key=lambda at: -len(self.here(at)))

    def here(self, at: int) -> list[int]:
        """Return the placed words of a position, as many as it has slots."""
        slots = int(self.layout.free[:, at].sum())
        return [word for word, where in self.rows.placed.items() if where == at][:slots]

    def improve(self, at: int) -> bool:
        """Assign the words of one position anew; say whether anything changed.

        Args:
            at: the position.
        """
        free = self.layout.free[:, at].nonzero()[:, 0].tolist()
        here, fillers = self.here(at), [w for w in self.rows.repeated if w not in self._special()]
        options = here + fillers
        if len(options) < 2 or not free:
            return False
        costs = torch.stack([self._costs(sentence, at, options) for sentence in free])
        filled = costs[:, len(here) :]
        best = filled.min(1) if fillers else None
        table = costs[:, : len(here)] - FORCE
        if best is not None:
            table = torch.cat([table, best.values[:, None].expand(-1, len(free) - len(here))], 1)
        before = self.ids[:, at].clone()
        for row, column in zip(*linear_sum_assignment(table.numpy()), strict=True):
            if column < len(here):
                self.ids[free[row], at] = here[column]
            elif best is not None:
                self.ids[free[row], at] = fillers[int(best.indices[row])]
        return not torch.equal(before, self.ids[:, at])

    def cost(self) -> float:
        """Return the mean over words that occurred once of 1 less the cosine, of the state."""
        total = sum(float(self._costs(sentence, None, [0])[0]) for sentence in range(len(self.ids)))
        return total / max(1, len(self._known))

    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """Return the sentences."""
        return tuple(tuple(row[:length].tolist()) for row, length in zip(self.ids, self.layout.lengths, strict=True))

    def _special(self) -> frozenset[int]:
        return self.observation.model.vocabulary.special

    def _costs(self, sentence: int, at: int | None, options: list[int]) -> Tensor:
        """Return the cost (C,) of a sentence with each of the options at a position."""
        model, length = self.observation.model, self.layout.lengths[sentence]
        ids = self.ids[sentence, :length].repeat(len(options), 1)
        if at is not None:
            ids[:, at] = torch.tensor(options)
        labels = self.observation.knowledge.labels
        inputs = model.embedding()[ids].detach().requires_grad_()
        target = torch.full((len(ids),), 0 if labels is None else labels[sentence])
        with torch.enable_grad():
            loss = model.losses(model.logits(inputs), target).sum()
            (flow,) = torch.autograd.grad(loss, [inputs])
        flow = torch.nn.functional.normalize(flow, dim=2)
        found = torch.zeros(len(ids), dtype=torch.float64)
        for row in range(len(ids)):
            for place, word in enumerate(ids[row].tolist()):
                known = self._known.get(word)
                if known is not None:
                    cosine = float(flow[row, place] @ known)
                    # Of two classes the gradients differ in sign, so an unknown one costs the sign alone.
                    found[row] += 1 - (cosine if labels is not None else abs(cosine))
        return found
