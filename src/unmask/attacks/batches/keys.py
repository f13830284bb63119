"""Find the words of one sentence of a batch: their flows are combinations of the sentence's keys."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.batches.flows import Flows
from unmask.public import Component, InputTable, Place, PublicModel

STEPS, GRADED = 20, 6
POWER = 0.75
"""Between 0.5, which minimises a sum of norms, and 1, which counts pairs: sparser, with more local optima."""
SMALLEST, FLOOR = 1e-9, 1e-10
LEAST = 0.01
"""A pair whose share of its token's flow is smaller starts with this weight."""
JOINED = 0.25
"""Words of a guess whose flow is left unexplained to more than this share do not vote on the others."""
STRONG, MATES = 1e-3, 14
"""In sentences too long to be certain, so many words vote that weigh at least this share of the heaviest."""
SURE = 0.9
"""Share of its flow at one position that makes a token's position sure."""
GLIMPSE = 0.01
"""Least attention, of the largest, that is reckoned with."""
KEPT = 8
"""Pairs at each position that stay in a regression once its weights are graded."""
ROUNDS, SWEEPS = 3, 2


@dataclass(frozen=True, kw_only=True, eq=False)
class KeySearch:
    """Group-sparse regression of flows on keys.

    The soft-max makes each dq a combination of its own sentence's keys with coefficients that sum
    to zero, in every head: `dq_n = sum_j a_nj c_nj k_j` with attention a and `c_nj = do_n . v_j - mean`.
    Attention is known up to a factor once a word's position is, and c is about equally large for
    near and far words, so c is what is regressed. The keys of all allowed pairs are known; the
    sparsest combination that all heads, and all words of a sentence, share is the sentence (focal
    underdetermined system solver, Gorodnitsky and Rao 1997, by groups). While a sentence is shorter
    than a head is wide, it is also certain: the keys of the right words leave nothing of their flows.

    Args:
        keys: (heads, N, d_head + 1) of every pair, of mean length one, with a one for the zero sum.
        flow: (heads, T, d_head + 1) of every token, of length one over the heads, with a zero.
        ids: (N,) token of each pair.
        words: (N,) its index.
        positions: (N,) its position.
        special: (T,) True for tokens of no sentence's own.
        attention: (heads, T, N) of each token on every pair, up to a factor; 1 where its position is not sure.
        sure: (T,) True for tokens whose position is sure.
        shares: (N,) prior weight of each pair.
        fixed: indices of the tokens that end a sentence, in order.
    """

    keys: Tensor
    flow: Tensor
    ids: Tensor
    words: Tensor
    positions: Tensor
    special: Tensor
    attention: Tensor
    sure: Tensor
    shares: Tensor
    fixed: tuple[int, ...]

    @property
    def height(self) -> int:
        """Longest sentence that is certain once it is right."""
        return self.keys.shape[2] - 1

    def allowed(self, length: int) -> Tensor:
        """Return which pairs (N,) can be part of a sentence of this length."""
        first = length - len(self.fixed)
        inside = (self.positions < first) & ~torch.isin(self.words, torch.tensor(self.fixed, dtype=torch.long))
        for k, word in enumerate(self.fixed):
            inside |= (self.positions == first + k) & (self.words == word)
        return inside

    def anchors(self) -> Tensor:
        """Return the indices of tokens to start from, those whose position is surest first."""
        best = torch.zeros(len(self.special), dtype=self.shares.dtype).scatter_reduce(
            0, self.words, self.shares, "amax"
        )
        order = best.argsort(descending=True)
        return order[~self.special[order]]

    def fit(self, weights: Tensor, length: int) -> float:
        """Return the share of weights (N,) on pairs that a sentence of this length can hold."""
        return float(weights[self.allowed(length)].sum() / weights.sum())

    def support(self, tokens: tuple[int, ...]) -> Tensor:
        """Return graded weights (N,) of pairs for the flows of a guess's words together."""
        inside = self.allowed(len(tokens))
        own = self.own((torch.isin(self.ids, torch.tensor(tokens)) & inside).nonzero()[:, 0])
        return self.joint(own[self.sure[own]] if bool(self.sure[own].any()) else own, inside, GRADED)

    def mates(self, weights: Tensor) -> Tensor:
        """Return the indices of the words of sure position that weigh most."""
        heaviest = weights.argsort(descending=True)
        words = self.words[heaviest[weights[heaviest] > STRONG * weights.max()]]
        return words[self.sure[words]][:MATES].unique()

    def affinity(self, anchors: Tensor) -> Tensor:
        """Return weights (U, N) of all pairs in the sparsest combination for each anchor's flow alone."""
        weights = self.shares.clamp(LEAST, 1).repeat(len(anchors), 1)
        for step in range(STEPS):
            energy = self._energies(anchors, slice(None), weights, step)
            weights = (energy / energy.amax(1, keepdim=True).clamp_min(1e-300)).clamp_min(1e-14) ** POWER
        return weights

    def joint(self, voters: Tensor, inside: Tensor, steps: int = STEPS) -> Tensor:
        """Return weights (N,) of the pairs of one sparsest combination for the flows of several words.

        Args:
            voters: (M,) indices of words of one sentence.
            inside: (N,) which pairs may take part.
            steps: few leave the weights graded, many leave a sentence's worth of them.
        """
        chosen = inside.nonzero()[:, 0]
        weights = self.shares[chosen].clamp(LEAST, 1)
        for step in range(steps):
            if step == GRADED:
                kept = self._heaviest(weights, chosen)
                chosen, weights = chosen[kept], weights[kept]
            energy = self._energies(voters, chosen, weights.expand(len(voters), -1), step).sum(0)
            weights = (energy / energy.max().clamp_min(1e-300)).clamp_min(1e-14) ** POWER
        found = torch.zeros(len(self.words), dtype=weights.dtype)
        found[chosen] = weights
        return found

    def _energies(self, voters: Tensor, chosen: Tensor | slice, weights: Tensor, step: int) -> Tensor:
        """Return the energies (M, N) of each voter's coefficients, every head counting the same."""
        unit, ridge = torch.eye(self.keys.shape[2], dtype=weights.dtype), max(1e-2 * 0.3**step, SMALLEST)
        total = torch.zeros_like(weights)
        for keys, flow, attention in zip(self.keys[:, chosen], self.flow, self.attention, strict=True):
            seen = attention[voters][:, chosen]
            moment = (keys.T * (weights * seen.square())[:, None]) @ keys
            size = moment.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
            solved = torch.linalg.solve(moment + ridge * size * unit, flow[voters][..., None])[..., 0]
            energy = ((solved @ keys.T) * weights * seen).square()
            total += energy / energy.amax(1, keepdim=True).clamp_min(1e-300)
        return total

    def _heaviest(self, weights: Tensor, chosen: Tensor) -> Tensor:
        """Return the indices of the `KEPT` heaviest of chosen pairs at each position."""
        positions, kept = self.positions[chosen], []
        for i in positions.unique():
            here = (positions == i).nonzero()[:, 0]
            kept.append(here[weights[here].argsort(descending=True)[:KEPT]])
        return torch.cat(kept)

    def read(self, weights: Tensor, inside: Tensor, length: int) -> Tensor | None:
        """Return the heaviest pair (length,) at each position, or None where none is allowed."""
        chosen = []
        for i in range(length):
            here = (inside & (self.positions == i)).nonzero()[:, 0]
            if not len(here):
                return None
            chosen.append(here[weights[here].argmax()])
        return torch.stack(chosen)

    def own(self, pairs: Tensor) -> Tensor:
        """Return the indices of the tokens of pairs, once each, special ones left out."""
        words = self.words[pairs]
        return words[~self.special[words]].unique()

    def left(self, pairs: Tensor) -> Tensor:
        """Return the share (T,) of each token's flow that the keys of pairs do not explain."""
        basis = torch.linalg.qr(self.keys[:, pairs].transpose(1, 2))[0]
        return _without(self.flow, basis).square().sum((0, 2))

    def misfit(self, pairs: Tensor) -> float:
        """Return the sum of logarithms of what is left of the flows of a sentence's own words."""
        return float((self.left(pairs)[self.own(pairs)] + FLOOR).clamp_max(1).log().sum())

    def sentence(self, weights: Tensor, length: int) -> Tensor | None:
        """Return the pairs (length,) of the best sentence that grows from weights (N,)."""
        inside = self.allowed(length)
        pairs, best, least = self.read(weights, inside, length), None, float("inf")
        if pairs is None:
            return None
        if length > self.height:
            voters = self.mates(weights)
            return self.read(self.joint(voters, inside), inside, length) if len(voters) else pairs
        for _ in range(ROUNDS):
            own, left = self.own(pairs), self.left(pairs)
            voters = own[left[own] < JOINED]
            if not len(voters):
                break
            found = self.read(self.joint(voters, inside), inside, length)
            assert found is not None  # every position had a pair before
            found = self.improved(found, inside)
            value = self.misfit(found)
            if value >= least - FLOOR:
                break
            best, least, pairs = found, value, found
        return best

    def improved(self, pairs: Tensor, inside: Tensor) -> Tensor:
        """Replace one word after another while the misfit falls."""
        alone = self._alone(pairs[:1])
        for _ in range(SWEEPS):
            before = pairs
            for i in range(1, len(pairs)):
                here = (inside & (self.positions == i)).nonzero()[:, 0]
                if len(here) > 1:
                    pairs = self._replaced(pairs, i, here, alone)
            if torch.equal(before, pairs):
                break
        return pairs

    def _replaced(self, pairs: Tensor, position: int, here: Tensor, alone: Tensor) -> Tensor:
        rest = torch.cat([pairs[:position], pairs[position + 1 :]])
        basis = torch.linalg.qr(self.keys[:, rest].transpose(1, 2))[0]
        flow, keys = _without(self.flow, basis), _without(self.keys[:, here], basis)
        size = keys.square().sum(2).clamp_min(1e-9)
        whole, others, words = flow.square().sum((0, 2)), self.own(rest), self.words[here]
        gone = ((keys @ flow[:, others].transpose(1, 2)).square() / size[..., None]).sum(0)
        score = ((whole[others] - gone).clamp_min(0) + FLOOR).log().sum(1)
        mine = ((keys * flow[:, words]).sum(2).square() / size).sum(0)
        # A word's own key explains much of its flow anywhere; what counts is what the sentence adds to it.
        added = ((whole[words] - mine).clamp_min(0) + FLOOR).log() - alone[here]
        score = score + torch.where(torch.isin(words, others) | self.special[words], torch.zeros_like(added), added)
        best = here[score.argmin()]
        now = score[(here == pairs[position]).nonzero()[0, 0]]
        if score.min() > now - 1e-6:
            return pairs
        pairs = pairs.clone()
        pairs[position] = best
        return pairs

    def _alone(self, first: Tensor) -> Tensor:
        """Return for each pair (N,) the logarithm of what its own key and the first leave of its flow."""
        basis = torch.linalg.qr(self.keys[:, first].transpose(1, 2))[0]
        keys, flow = _without(self.keys, basis), _without(self.flow, basis)
        size = keys.square().sum(2).clamp_min(1e-9)
        gone = ((keys * flow[:, self.words]).sum(2).square() / size).sum(0)
        return ((flow.square().sum((0, 2))[self.words] - gone).clamp_min(0) + FLOOR).log()


def _without(vectors: Tensor, basis: Tensor) -> Tensor:
    """Return vectors (heads, n, h) less their part in a basis (heads, h, k)."""
    return vectors - (vectors @ basis) @ basis.transpose(1, 2)


def key_search(model: PublicModel, place: Place, table: InputTable, flows: Flows) -> KeySearch | None:
    """Return the search among the pairs of a batch, or None without a query beside a key or a known end.

    Args:
        model: the public model.
        place: a first-layer query.
        table: closed form of its input.
        flows: of the batch's words.
    """
    same = [p for p in model.places if p.layer == place.layer]
    key = next((p for p in same if p.component is Component.KEY and p.shape == place.shape), None)
    index = {int(t): k for k, t in enumerate(flows.tokens)}
    if key is None or place.component is not Component.QUERY or not index.keys() >= set(model.vocabulary.suffix):
        return None
    heads = max((p.heads for p in same if p.component is Component.ATTENTION_OUTPUT), default=1)
    keys = _mapped(model, key, table, flows.ids, flows.positions, heads)
    best, pair = _surest(flows)
    queries = _mapped(model, place, table, flows.tokens, flows.positions[pair], heads)
    scores = queries @ keys.transpose(1, 2) / keys.shape[2] ** 0.5
    seen = (scores - scores.amax(2, keepdim=True)).exp().square().add(GLIMPSE**2).sqrt()
    sure = best > SURE
    keys = keys / keys.norm(dim=2).mean(1)[:, None, None]
    flow = flows.flow / flows.flow.norm(dim=1, keepdim=True).clamp_min(1e-300)
    special = torch.tensor([int(t) in model.vocabulary.special for t in flows.tokens])
    return KeySearch(
        keys=torch.cat([keys, torch.ones_like(keys[:, :, :1])], 2),
        flow=torch.nn.functional.pad(flow.view(len(flow), heads, -1), (0, 1)).transpose(0, 1).contiguous(),
        ids=flows.ids,
        words=flows.words,
        positions=flows.positions,
        special=special,
        attention=torch.where(sure[:, None], seen, torch.ones_like(seen)),
        sure=sure & ~special,
        shares=flows.shares,
        fixed=tuple(index[t] for t in model.vocabulary.suffix),
    )


def _mapped(model: PublicModel, place: Place, table: InputTable, ids: Tensor, positions: Tensor, heads: int) -> Tensor:
    """Return the output (heads, n, d_head) of a linear map of the first layer."""
    weight, bias = model.affine(place)
    outputs = table.rows(ids, positions).double() @ weight.double().T + bias.double()
    return outputs.view(len(ids), heads, -1).transpose(0, 1).contiguous()


def _surest(flows: Flows) -> tuple[Tensor, Tensor]:
    """Return each token's largest share (T,) and the pair (T,) that has it."""
    table = torch.full((len(flows.tokens), len(flows.ids)), -1.0, dtype=flows.shares.dtype)
    table[flows.words, torch.arange(len(flows.ids))] = flows.shares
    best, pair = table.max(1)
    return best, pair
