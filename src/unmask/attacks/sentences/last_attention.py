"""Every row of an attention output if one word changed, as if only the last attention reacted to it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.rough import rough
from unmask.public import Component, Kind, Place, PublicModel

SAMPLED = 1024
RIDGE = 3.0
NEAR = 1e-3
"""Probed (position, word) pairs, ridge of the linear map fitted to them, and error that a formula may have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LastAttention:
    """A sentence in front of one attention, in which words can be changed or moved cheaply.

    The layers below stay as they are for the words that stay. A new word's hidden vector comes
    from a linear map, `x = f(word) M + b(position)`, fitted to probes in this very sentence; a moved
    word takes `b(new) - b(old)` with it. The attention itself is then exact, in every row: a new
    word is attended to by all the others. In the first layer, with true hidden vectors, this is a
    replay.

    Args:
        queries, keys, values: (H, n, d_h) of the sentence.
        maps: weight (H d_h, d) and bias (H d_h,) of the three maps.
        words: (d_f, d) the matrix M.
        shifts: (n, d) the vectors b; zero at known positions.
        free: (N,) positions of unknown tokens.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    maps: tuple[tuple[Tensor, Tensor], ...]
    words: Tensor
    shifts: Tensor
    free: Tensor

    @classmethod
    def measure(
        cls,
        model: PublicModel,
        places: tuple[Place, Place, Place],
        heads: int,
        ids: Tensor,
        free: Tensor,
        features: Tensor,
        allowed: Tensor,
        generator: torch.Generator,
    ) -> "LastAttention":
        """Replay a sentence up to an attention and fit the linear map to some probes in it.

        Args:
            model: the public model.
            places: see `attention_places`.
            heads: of the attention.
            ids: (n,) the sentence.
            free: (N,) positions of unknown tokens.
            features: (V, d_f) of every token.
            allowed: token ids that can occur.
            generator: source of the probes.
        """
        n, inner = len(ids), places[0]
        where = free[torch.randint(len(free), (SAMPLED,), generator=generator)]
        tokens = allowed[torch.randint(len(allowed), (SAMPLED,), generator=generator)]
        with rough():
            probed = model.substituted_inputs(ids, where, tokens, inner).double()
        known = torch.cat([features[tokens], F.one_hot(where, n).to(features.dtype)], 1).double()
        gram = known.T @ known + RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
        fitted = torch.linalg.solve(gram, known.T @ probed).to(features.dtype)
        own = model.inputs(ids[None], [inner])[inner.name][0]
        maps = tuple(model.affine(place) for place in places)
        split = [(own @ weight.T + bias).unflatten(-1, (heads, -1)).transpose(0, 1) for weight, bias in maps]
        return cls(
            queries=split[0],
            keys=split[1],
            values=split[2],
            maps=maps,
            words=fitted[: features.shape[1]],
            shifts=fitted[features.shape[1] :],
            free=free,
        )

    def hidden(self, position: int, features: Tensor) -> Tensor:
        """Return the predicted hidden vectors (C, d) of words with features (C, d_f) at a position."""
        return features @ self.words + self.shifts[position]

    def substituted(self, position: int, hidden: Tensor) -> Tensor:
        """Return all rows (C, n, H d_h) if the word at a position had each of the hidden vectors (C, d).

        A softmax with one score replaced is the old one without it, plus the new term: no row but
        the changed word's own is computed afresh.
        """
        heads, _, width = self.queries.shape
        query, key, value = ((hidden @ w.T + b).view(-1, heads, width) for w, b in self.maps)
        scale = width**-0.5
        scores = self.queries @ self.keys.transpose(1, 2) * scale
        top = scores.amax(-1)
        weights = (scores - top[..., None]).exp()
        rest = weights.sum(-1) - weights[..., position]
        sums = weights @ self.values - weights[..., position, None] * self.values[:, None, position]
        new = (torch.einsum("hnd,chd->chn", self.queries, key) * scale - top).exp()
        rows = (sums + new[..., None] * value[:, :, None]) / (rest + new)[..., None]
        own = torch.einsum("hnd,chd->chn", self.keys, query) * scale
        own[..., position] = (query * key).sum(-1) * scale
        share = own.softmax(-1)
        moved = value - self.values[:, position]
        rows[:, :, position] = torch.einsum("chn,hnd->chd", share, self.values) + share[..., position, None] * moved
        return rows.transpose(1, 2).flatten(2)

    def reordered(self, orders: Tensor) -> Tensor:
        """Return all rows (C, n, H d_h) if the words at the free positions stood in other orders (C, N)."""
        heads, n, width = self.queries.shape
        source = torch.arange(n).repeat(len(orders), 1)
        source[:, self.free] = self.free[orders]

        def moved(found: Tensor, weight: Tensor) -> Tensor:
            shifts = self.shifts @ weight.T
            rows = found.transpose(0, 1).flatten(1)
            return (rows[source] - shifts[source] + shifts).view(len(orders), n, heads, width).transpose(1, 2)

        three = zip((self.queries, self.keys, self.values), self.maps, strict=True)
        query, key, value = (moved(found, weight) for found, (weight, _) in three)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def attention_places(model: PublicModel, place: Place) -> tuple[Place, Place, Place] | None:
    """Return query, key and value map of an attention output, if soft-max attention over them is what it reads.

    Args:
        model: the public model.
        place: an attention output.
    """
    wanted = (Component.QUERY, Component.KEY, Component.VALUE)
    of = {p.component: p for p in model.places if p.layer == place.layer and p.kind is Kind.WEIGHT}
    if any(c not in of or of[c].shape[0] != place.shape[1] for c in wanted) or place.heads < 1:
        return None
    query, key, value = (of[c] for c in wanted)
    length = min(8, model.max_length)
    ids = torch.arange(length)[None] % model.vocabulary.size
    found = model.inputs(ids, [query, key, value, place])
    split = [
        (found[p.name] @ w.T + b).unflatten(-1, (place.heads, -1)).transpose(1, 2)
        for p, (w, b) in ((p, model.affine(p)) for p in (query, key, value))
    ]
    rows = F.scaled_dot_product_attention(split[0], split[1], split[2]).transpose(1, 2).flatten(2)
    near = (rows - found[place.name]).norm() < NEAR * found[place.name].norm()
    return (query, key, value) if bool(near) else None
