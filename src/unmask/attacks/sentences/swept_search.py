"""Find a sentence behind the span of an attention output whose heads are full."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from unmask.attacks.evidence import Evidence, captured
from unmask.attacks.probes import random_context, whitening
from unmask.attacks.rough import rough
from unmask.attacks.sentences.last_attention import LastAttention
from unmask.attacks.sentences.neighbours import joined, kicked, moves, reorderings
from unmask.attacks.sentences.word_ranking import WordRanking, features
from unmask.public import Place

CONTEXTS, RIDGE = 40, 0.3
"""Public sentences whose rows give the far metric, and the share of the mean eigenvalue added to their spread."""
NEAR, SOLVED, GAIN, STUCK = 0.15, 1e-5, 1e-7, 6
KEPT, OWN, CHANCE, LIKELY = 25, 12, 16, 50
"""Words tried at a position: the former best, some of the sentence, chance ones, and the likeliest by regression."""
COMMON = 8
"""The first eighth of a vocabulary holds the common words."""
SINGLES, REPLAYED, JOINED = 40, 40, 16
MOVES, BLOCKS, LIMIT = 600, 400, 8000
AT_ONCE = 100


@dataclass(kw_only=True, eq=False)
class SweptSearch:
    """Coordinate search in which every position tries more than a hundred words in every round.

    Once a sentence is as long as a head is wide, the span of each head is the whole head and says
    nothing, and the span over all heads mixes every word into every row. What a word at its place
    does to the unexplained share is still seen from far: in MiniLM's second layer, with every other
    word wrong, half of the true words come among the best few hundredths. The slope of that share does
    not show it, the first row that a word is in does not either; all rows in front of a frozen
    last attention do, at a tenth of a replay's price. A metric that discounts what contexts
    change serves from far, the plain one near. A regression on the words tried ranks the others.
    Replays decide.

    Args:
        plain: evidence of the attention output, in one block.
        places: query, key and value maps of its layer.
        ids: (n,) sentence with the known tokens in place.
        free: (N,) positions of the unknown tokens.
        allowed: token ids that can occur, common ones first.
        generator: source of all chance.
    """

    plain: Evidence
    places: tuple[Place, Place, Place]
    ids: Tensor
    free: Tensor
    allowed: Tensor
    generator: torch.Generator
    replays: int = field(default=0, init=False)

    def run(self) -> Iterator[tuple[Tensor, float]]:
        """Yield (sentence, unexplained share in the plain metric) of the best guess after every round, until solved."""
        far, current = self._far(), self._begin()
        ranking = WordRanking(self._features[self.allowed], len(self.free))
        metric, stuck = far, 0
        loss = self._losses(metric, current[None])[0].item()
        best, least = current, float("inf")
        kept = torch.empty(len(self.free), 0, dtype=torch.long)
        while True:
            found, value, kept = self._round(metric, current, ranking, kept, stuck)
            stuck = 0 if value < loss - GAIN else stuck + 1
            if not stuck:
                current, loss = found, value
            share = self._losses(self.plain, current[None])[0].item()
            if share < least:
                best, least = current, share
            yield best, least
            if least < SOLVED:
                return
            if metric is far and loss < NEAR:
                metric = self.plain
            elif stuck >= STUCK:
                metric, current, stuck = far, kicked(best, self.free, self.allowed, self.generator), 0
            else:
                continue
            loss = self._losses(metric, current[None])[0].item()

    @cached_property
    def _features(self) -> Tensor:
        return features(self.plain.model.embedding())

    @cached_property
    def _orders(self) -> tuple[Tensor, Tensor]:
        return moves(len(self.free)), reorderings(len(self.free), LIMIT, self.generator)

    def _far(self) -> Evidence:
        """Return the evidence in a metric whitened by what rows have in common at a position of random sentences."""
        model, length = self.plain.model, len(self.ids)
        ids = torch.stack([random_context(model, self.allowed, length, self.generator) for _ in range(CONTEXTS)])
        rows = model.inputs(ids, [self.plain.place])[self.plain.place.name].double()
        apart = (rows - rows.mean(0)).flatten(0, 1)
        white = whitening((apart.T @ apart / len(apart))[None], RIDGE)
        return self.plain.whitened(white.to(self._features.dtype))

    def _begin(self) -> Tensor:
        common = self.allowed[: -(-len(self.allowed) // COMMON)]
        return self._filled(common[torch.randint(len(common), self.free.shape, generator=self.generator)])

    def _filled(self, tokens: Tensor) -> Tensor:
        filled = self.ids.clone()
        filled[self.free] = tokens
        return filled

    def _losses(self, metric: Evidence, sentences: Tensor) -> Tensor:
        self.replays += len(sentences)
        with nullcontext() if metric is self.plain else rough():
            return metric.of_sequences(sentences)

    def _round(
        self, metric: Evidence, current: Tensor, ranking: WordRanking, kept: Tensor, stuck: int
    ) -> tuple[Tensor, float, Tensor]:
        """Return the best replayed neighbour of a sentence, its loss, and the best words of every position."""
        frozen = LastAttention.measure(
            self.plain.model,
            self.places,
            self.plain.place.heads,
            current,
            self.free,
            self._features,
            self.allowed,
            self.generator,
        )
        changes, kept = self._sweep(metric, frozen, current, ranking, kept)
        trials = [*self._changed(current, changes), *self._reordered(metric, frozen, current, stuck)]
        sentences = torch.stack(trials).unique(dim=0)
        losses = self._losses(metric, sentences)
        joins = joined(current, sentences[losses.argsort()[:JOINED]])
        if len(joins):
            sentences, losses = torch.cat([sentences, joins]), torch.cat([losses, self._losses(metric, joins)])
        pick = int(losses.argmin())
        return sentences[pick], losses[pick].item(), kept

    def _sweep(
        self, metric: Evidence, frozen: LastAttention, current: Tensor, ranking: WordRanking, kept: Tensor
    ) -> tuple[list[tuple[float, int, int]], Tensor]:
        """Try words at every position; return (change of the share, position, token), best first, and the best words.

        Args:
            metric: the evidence.
            frozen: the sentence before its last attention.
            current: (n,) the sentence.
            ranking: what former rounds have learnt; learns.
            kept: (N, K) indices of the former best words.
        """
        index = torch.full((self._features.shape[0],), -1)
        index[self.allowed] = torch.arange(len(self.allowed))
        promised = ranking.predicted() if kept.shape[1] else None
        ranking.fade()
        changes, best = [], []
        for i, position in enumerate(self.free.tolist()):
            now = index[current[position]]
            words = torch.cat([now[None], kept[i], self._guesses(index[current[self.free]], promised, i)]).unique()
            hidden = frozen.hidden(position, self._features[self.allowed[words]])
            shares = _shares(metric, frozen.substituted(position, hidden))
            ranking.add(i, words, shares)
            order = shares.argsort()[: KEPT + 1]
            best.append(words[order[:KEPT]])
            own = shares[words == now]
            changes += [
                (float(shares[k] - own), position, int(self.allowed[words[k]]))
                for k in order[:4].tolist()
                if words[k] != now
            ]
        fewest = min(len(words) for words in best)
        return sorted(changes), torch.stack([words[:fewest] for words in best])

    def _guesses(self, sentence: Tensor, promised: Tensor | None, position: int) -> Tensor:
        """Return indices of words to try at a position: of the sentence, by chance, and by what was promised."""
        count, common = len(self.allowed), -(-len(self.allowed) // COMMON)
        chosen = [
            sentence[torch.randperm(len(sentence), generator=self.generator)[:OWN]],
            torch.randint(common, (CHANCE,), generator=self.generator),
            torch.randint(count, (CHANCE,), generator=self.generator),
        ]
        if promised is not None:
            own = promised[position]
            chosen.append(own.topk(min(LIKELY, count), largest=False).indices)
            chosen.append(own[:common].topk(min(LIKELY // 2, common), largest=False).indices)
        return torch.cat(chosen)

    def _changed(self, current: Tensor, changes: list[tuple[float, int, int]]) -> list[Tensor]:
        """Return the sentence itself, with the best changes one by one, and with ever more of them at once."""
        trials, together, touched = [current], current, set()
        for gain, position, token in changes:
            if gain < 0 and position not in touched:
                touched.add(position)
                together = together.clone()
                together[position] = token
                trials.append(together)
        for _, position, token in changes[:SINGLES]:
            single = current.clone()
            single[position] = token
            trials.append(single)
        return trials

    def _reordered(self, metric: Evidence, frozen: LastAttention, current: Tensor, stuck: int) -> list[Tensor]:
        """Return the reorderings that the frozen attention likes best."""
        more = 3 if stuck else 1
        some = [
            part[torch.randperm(len(part), generator=self.generator)[: more * count]]
            for part, count in zip(self._orders, (MOVES, BLOCKS), strict=True)
        ]
        orders = torch.cat(some)
        shares = torch.cat([_shares(metric, frozen.reordered(part)) for part in orders.split(AT_ONCE)])
        tokens = current[self.free]
        return [self._filled(tokens[orders[k]]) for k in shares.argsort()[:REPLAYED].tolist()]


def _shares(metric: Evidence, rows: Tensor) -> Tensor:
    """Return the unexplained share (C,) for rows (C, n, d), to about four digits."""
    if metric.white is not None:
        with rough():
            rows = (rows @ metric.white[0]).to(rows.dtype)
    inside = rows @ metric.bases[0].to(rows.dtype)
    return 1 - captured((rows @ rows.transpose(1, 2))[None], inside[None], ridge=1e-5) / metric.rank
