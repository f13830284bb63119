"""Records of a store, one a token: a key and a value, functions of the token and its place alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.activations.first_rows import place_of
from unmask.public import Component, InputTable, PublicModel
from unmask.shared import StoreKnowledge
from unmask.site import Site


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """What each token would put into the store, and what a store of them would show.

    Args:
        table: closed form of a record's input.
        key: weight (d_h, d) and bias (d_h,) of the head's keys.
        value: weight (w, d) and bias (w,) of its values.
        knowledge: how records are read.
    """

    table: InputTable
    key: tuple[Tensor, Tensor]
    value: tuple[Tensor, Tensor]
    knowledge: StoreKnowledge

    @classmethod
    def of(cls, model: PublicModel, site: Site, knowledge: StoreKnowledge) -> "Records | None":
        """Return the records of one head, or None where a record is no closed form of its token.

        Args:
            model: the public model.
            site: the head's output.
            knowledge: how records are read.
        """
        places = [place_of(model, site.layer, part) for part in (Component.QUERY, Component.KEY, Component.VALUE)]
        if any(place is None for place in places):
            return None
        query, key, value = (place for place in places if place is not None)
        table = model.input_table(key)
        if table is None:
            return None
        width = len(model.affine(query)[0]) // model.heads
        parts = []
        for place in (key, value):
            weight, bias = model.affine(place)
            own = (site.head or 0) * (len(weight) // width) // model.heads
            parts.append((weight[own * width :][:width], bias[own * width :][:width]))
        return cls(table=table, key=parts[0], value=parts[1], knowledge=knowledge)

    def entries(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (..., m) and what they multiply (..., w') of tokens at positions, in float64.

        The rows seen are `sum_i code_i u_i^T`; with plain attention they are that, `u = (v, 1)`, over its last column.

        Args:
            tokens: indices.
            positions: of the same shape, or of one that fits.
        """
        rows = self.table.rows(tokens, positions)
        # Large numbers of candidates are mapped in the weights' format; what follows is small.
        keys, values = ((rows @ weight.T + bias).double() for weight, bias in (self.key, self.value))
        known = self.knowledge
        if known.codes is None:
            codes = (known.scale * keys @ known.queries.to(keys).T).exp()
            return codes, torch.cat([values, torch.ones_like(values[..., :1])], -1)
        lengths = values.norm(dim=-1, keepdim=True)
        clipped = values * (known.value_norm / lengths.clamp_min(known.value_norm))
        return known.codes(keys), torch.cat([clipped, torch.full_like(lengths, known.value_norm)], -1)

    def shown(self, codes: Tensor, factors: Tensor) -> Tensor:
        """Return the rows (m, w) or (m, w + 1) that a store shows, without noise.

        Args:
            codes: (n, m).
            factors: (n, w + 1).
        """
        total = codes.T @ factors
        return total if self.knowledge.codes is not None else total[:, :-1] / total[:, -1:]

    def distances(self, seen: Tensor, rest: Tensor, codes: Tensor, factors: Tensor) -> Tensor:
        """Return `||seen - shown||^2` (C,) if each of C records were added to the sum over the others.

        For sums it is, with `R = seen - rest`, `|R|^2 - 2 c^T R u + |c|^2 |u|^2`. For plain attention the last column
        z divides: with `g = 1 / (z + c)` for each row it is
        `sum_j |a_j - g_j n_j|^2 - 2 g_j c_j (a_j - g_j n_j) v + g_j^2 c_j^2 |v|^2`.

        Args:
            seen: (m, w) or (m, w + 1).
            rest: (m, w + 1) sum over the other records.
            codes: (C, m).
            factors: (C, w + 1).
        """
        if self.knowledge.codes is not None:
            left = seen - rest
            crossed = ((codes @ left) * factors).sum(1)
            squares = codes.square().sum(1) * factors.square().sum(1)
            return left.square().sum() - 2 * crossed + squares
        top, values = rest[:, :-1], factors[:, :-1]
        share = 1 / (rest[:, -1] + codes)
        away = (
            seen.square().sum(1) - 2 * share * (seen * top).sum(1) + share.square() * top.square().sum(1)
        )  # (C, m): |a - g n|^2
        crossed = share * codes * (values @ seen.T - share * (values @ top.T))
        own = (share * codes).square() * values.square().sum(1, keepdim=True)
        return (away - 2 * crossed + own).sum(1)
