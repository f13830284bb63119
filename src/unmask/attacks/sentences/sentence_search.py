"""Find the sentence whose replayed inputs explain a bidirectional layer's span."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.evidence import Evidence
from unmask.attacks.probes import Probes
from unmask.attacks.sentences.contexts import Contexts
from unmask.attacks.sentences.frozen import FrozenTable, options
from unmask.attacks.sentences.neighbours import assignments, reorderings, replacements
from unmask.attacks.sentences.recall import Recall, likely
from unmask.attacks.sentences.reinsertion import reinserted

SOLVED = 1e-6
"""Unexplained share that float32 replays of the true sentence stay below; measured 1e-9 to 1e-7."""
GAIN = 1e-7
STUCK = 4
LIMIT = 2500
SQUARES = 2
POOL = 50
PROBED = 3072
AGAIN = 4
"""Rounds after which words are probed again in the context of the guess."""
TRIED = 20
THOROUGH = 128
FEWEST = 8
MOST = 0.95
"""Share of the distance to the span that the positions under change hold."""


@dataclass(kw_only=True, eq=False)
class SentenceSearch:
    """Iterated local search, proposed in a frozen context and decided by exact replay.

    Random sentences of the likeliest words give a first guess and a metric in which a word's
    distance to the span tells its position. Then, round by round, every word of the guess and
    some others are scored at every position in the guess's own context; the least total distance
    is an assignment problem, and its solution, the cycles of its permutation, exchanged blocks,
    and replaced and reinserted words are replayed together. Only the replay decides. Two metrics
    take turns (whitened, and plain); a search that is stuck in both is kicked.

    Args:
        plain: evidence in the plain metric, which decides at the end.
        ids: (n,) sentence with the known tokens in place.
        free: positions of the unknown tokens.
        ranked: allowed tokens, most likely first.
        probes: public statistics of the place.
        generator: source of all chance.
        begin: (n,) sentence to begin from, or None for one of the likeliest words.
    """

    plain: Evidence
    ids: Tensor
    free: Tensor
    ranked: Tensor
    probes: Probes
    generator: torch.Generator
    begin: Tensor | None = None
    replays: int = field(default=0, init=False)
    kicks: int = field(default=0, init=False)
    turn: int = field(default=0, init=False)
    orders: dict[int, Tensor] = field(default_factory=dict, init=False)

    def run(self) -> Iterator[tuple[Tensor, float]]:
        """Yield (sentence, unexplained share in the plain metric) after every round, until solved."""
        current, white = self._start()
        recall = self._recall(white, current)
        evidence, stuck, rounds = white, 0, 0
        score = self._score(evidence, current[None])[0].item()
        best, best_score = current, float("inf")
        while True:
            rounds += 1
            found, value = self._round(evidence, current, score, recall, stuck=stuck)
            if value < score - GAIN:
                current, score, stuck = found, value, 0
            else:
                stuck += 1
                evidence = self.plain if evidence is white else white
                score = self._score(evidence, current[None])[0].item()
            plain = self._score(self.plain, current[None])[0].item()
            if plain < best_score:
                best, best_score = current, plain
            yield best, best_score
            if best_score < SOLVED:
                return
            if stuck >= STUCK:
                self.kicks += 1
                current, stuck = self._kick(best), 0
                score = self._score(evidence, current[None])[0].item()
            if stuck == 2 or rounds % AGAIN == 0:
                # A word that both rankings misjudge has its turn when another slice of them is probed.
                self.turn += stuck == 2
                recall = self._recall(white, current)
                yield best, best_score  # a caller's time may be up

    def _start(self) -> tuple[Tensor, Evidence]:
        pool = self.ranked[: len(self.free) + POOL]
        contexts = Contexts.measure(self.plain, self.ids, self.free, pool, SQUARES, self.generator)
        white = self.plain.whitened(contexts.white)
        return self._fill(pool[contexts.table(white).greedy()]) if self.begin is None else self.begin, white

    def _fill(self, tokens: Tensor) -> Tensor:
        filled = self.ids.clone()
        filled[self.free] = tokens
        return filled

    def _score(self, evidence: Evidence, sentences: Tensor) -> Tensor:
        self.replays += len(sentences)
        return evidence.of_sequences(sentences)

    def _rows(self, evidence: Evidence, sentence: Tensor) -> Tensor:
        """Return a sentence's own rows (H, n, d_b)."""
        inputs = evidence.model.inputs(sentence[None], [evidence.place])[evidence.place.name][0]
        return evidence.blocks(inputs[1:] - inputs[:1] if evidence.differences else inputs)

    def _recall(self, white: Evidence, current: Tensor) -> Recall:
        taken = self._rows(white, current)
        tokens = likely(self.probes, white, taken, self.ranked, PROBED, self.turn)
        return Recall.measure(self.plain, current, self.free, tokens, self.generator)

    def _orders(self, count: int) -> Tensor:
        if count not in self.orders:
            self.orders[count] = reorderings(count, LIMIT, self.generator)
        return self.orders[count]

    def _kick(self, sentence: Tensor) -> Tensor:
        orders = self._orders(len(self.free))
        tokens = sentence[self.free]
        for _ in range(1 + self.kicks % 3):
            tokens = tokens[orders[int(torch.randint(len(orders), (1,), generator=self.generator))]]
        return self._fill(tokens)

    def _round(
        self,
        evidence: Evidence,
        current: Tensor,
        score: float,
        recall: Recall,
        *,
        stuck: int,
    ) -> tuple[Tensor, float]:
        """Return the best replayed neighbour of a sentence and its score."""
        rows = self._rows(evidence, current)
        free = self.free if stuck else self._suspects(evidence, rows)
        missing = recall.missing(evidence, rows, 40 if stuck > 1 else 16)
        extra = torch.cat([missing, self.ranked[: len(self.free) // 2 + 8]])
        extra = extra[~torch.isin(extra, current[free])].unique()
        table = options(evidence, current, free, extra)
        tokens = torch.cat([current[free], extra])
        lists = self._proposals(table)
        found, scores = self._replay(evidence, current, free, tokens[lists[: len(lists) - THOROUGH]])
        if scores[0] >= score - GAIN and stuck > 0 and len(free) > 1:
            own = table.distances(relative=False)[:, : len(free)].diagonal()
            trials = reinserted(evidence, current, free, own, tokens.unique())
            found, scores = self._replay(evidence, current, free, trials[:, free])
        if scores[0] >= score - GAIN and stuck > 1:
            found, scores = self._replay(evidence, current, free, tokens[lists[len(lists) - THOROUGH :]])
        if scores[0] < score - GAIN:
            return self._combined(evidence, current, found[:8], scores[:8])
        return current, score

    def _suspects(self, evidence: Evidence, rows: Tensor) -> Tensor:
        """Return the free positions whose rows hold most of what lies outside the span, and their neighbours."""
        inside = (rows @ evidence.bases.to(rows.dtype)).square().sum(-1)
        outside = (rows.square().sum(-1) - inside).mean(0).clamp_min(0)
        own = outside[self.free - (1 if evidence.differences else 0)]
        order = own.argsort(descending=True)
        share = own[order].cumsum(0) / own.sum().clamp_min(1e-30)
        marked = torch.zeros(len(own) + 2, dtype=torch.bool)
        marked[1 + order[: max(FEWEST, int((share < MOST).sum()) + 1)]] = True
        return self.free[marked[1:-1] | marked[:-2] | marked[2:]]

    def _proposals(self, table: FrozenTable) -> Tensor:
        """Return choices (M, N) worth a replay; the last `THOROUGH` only when others fail.

        Args:
            table: every option in the frozen context.
        """
        count = table.positions
        here, orders = torch.arange(count), self._orders(count)
        lists = [table.greedy()]
        for relative in (False, True):
            distances = table.distances(relative=relative)
            lists += assignments(distances, count)
        near = torch.cat([orders, replacements(here, distances, 8)])
        order = table.scores(near).argsort()
        lists += [*self._chain(table, near, order[:40], len(orders)), *near[order[:TRIED]]]
        later = near[order[TRIED : TRIED + THOROUGH]]
        later = torch.cat([later, here.expand(THOROUGH - len(later), -1)])
        return torch.cat([torch.stack(lists).unique(dim=0), later])

    @staticmethod
    def _chain(table: FrozenTable, near: Tensor, order: Tensor, reorderings: int) -> list[Tensor]:
        """Return choices along a descent that applies the best changes one after the other, if they still help."""
        here = torch.arange(table.positions)
        current, chain = here, []
        value = float(table.scores(here[None]))
        for k in order.tolist():
            change = near[k]
            step = current[change] if k < reorderings else torch.where(change != here, change, current)
            lower = float(table.scores(step[None]))
            if lower < value - GAIN:
                current, value = step, lower
                chain.append(step)
        return chain[1:]

    def _replay(self, evidence: Evidence, current: Tensor, free: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        sentences = current.repeat(len(tokens), 1)
        sentences[:, free] = tokens
        scores = self._score(evidence, sentences)
        order = scores.argsort()
        return sentences[order], scores[order]

    def _combined(self, evidence: Evidence, current: Tensor, found: Tensor, scores: Tensor) -> tuple[Tensor, float]:
        """Join the best replayed changes that touch different positions, and replay the joined ones too."""
        joined, touched = found[0].clone(), found[0] != current
        trials = []
        for other in found[1:]:
            change = other != current
            if not bool((change & touched).any()):
                joined = torch.where(change, other, joined)
                touched |= change
                trials.append(joined)
        if not trials:
            return found[0], scores[0].item()
        values = self._score(evidence, torch.stack(trials))
        k = int(values.argmin())
        if values[k] < scores[0]:
            return trials[k], values[k].item()
        return found[0], scores[0].item()
