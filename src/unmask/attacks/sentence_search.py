"""Find the sentence whose replayed inputs explain a bidirectional layer's span."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.evidence import Evidence
from unmask.attacks.frozen import FrozenTable, moves, substitutions
from unmask.attacks.neighbours import reinsertions, reorderings, replacements
from unmask.attacks.probes import Probes

SOLVED = 1e-6
"""Unexplained share that float32 replays of the true sentence stay below; measured 1e-9 to 1e-7."""
GAIN = 1e-7
STUCK = 3
LIMIT = 2500
TRIED = 20
BATCH = 64


@dataclass(kw_only=True, eq=False)
class SentenceSearch:
    """Iterated local search, proposed in a frozen context and decided by exact replay.

    The unexplained share of the span grows nearly linearly with the number of misplaced tokens,
    so plain descent works if the steps are the right ones: exchanged blocks, replaced tokens,
    deleted and inserted tokens. A frozen context scores thousands of them for the price of a few
    replays; the best are replayed, and only the replay's score decides. Two metrics take turns
    (whitened by what contexts add, and plain); a search that is stuck in both is kicked.

    Args:
        plain: evidence in the plain metric, which decides at the end.
        white: the same in the whitened metric, for early steps.
        ids: (n,) sentence with the known tokens in place.
        free: positions of the unknown tokens.
        ranked: allowed tokens, most likely first.
        probes: public statistics of the place, which rank the vocabulary by what is still unexplained.
        generator: source of all chance.
    """

    plain: Evidence
    white: Evidence
    ids: Tensor
    free: Tensor
    ranked: Tensor
    probes: Probes
    generator: torch.Generator
    replays: int = field(default=0, init=False)
    kicks: int = field(default=0, init=False)

    def run(self) -> Iterator[tuple[Tensor, float]]:
        """Yield (sentence, unexplained share in the plain metric) after every round, until solved."""
        count = len(self.free)
        orders = reorderings(count, LIMIT, self.generator)
        current = self._fill(
            self.ranked[torch.randint(min(count + 2, len(self.ranked)), (count,), generator=self.generator)]
        )
        best, best_score = current, self._score(self.plain, current[None])[0].item()
        evidence, stuck = self.white, 0
        score = float("inf")
        first, wide = True, True
        failed: set[tuple[bool, int, bool, tuple[int, ...]]] = set()
        while True:
            found, value = self._round(evidence, current, score, orders, first=first, wide=wide, thorough=stuck > 0)
            first = False
            if value < score - GAIN:
                # Order is cheaper to improve than words, so words have their turn every other time.
                wide = not wide or value > 0.9 * score
                current, score, stuck = found, value, 0
            else:
                # The metrics may lead in a circle: a round that failed before, failed for good.
                here = (evidence is self.white, stuck, wide, tuple(current.tolist()))
                stuck, wide = STUCK if here in failed else stuck + (1 if wide else 0), True
                failed.add(here)
                if stuck:
                    evidence = self.plain if evidence is self.white else self.white
                    score = self._score(evidence, current[None])[0].item()
            plain = self._score(self.plain, current[None])[0].item()
            if plain < best_score:
                best, best_score = current, plain
            yield best, best_score
            if best_score < SOLVED:
                return
            if stuck >= STUCK:
                self.kicks += 1
                failed.clear()
                current, stuck = self._kick(best, orders, 1 + self.kicks % 3), 0
                score = self._score(evidence, current[None])[0].item()

    def _fill(self, tokens: Tensor) -> Tensor:
        filled = self.ids.clone()
        filled[self.free] = tokens
        return filled

    def _score(self, evidence: Evidence, sentences: Tensor) -> Tensor:
        self.replays += len(sentences)
        return evidence.of_sequences(sentences)

    def _kick(self, sentence: Tensor, orders: Tensor, strength: int) -> Tensor:
        tokens = sentence[self.free]
        for _ in range(strength):
            tokens = tokens[orders[int(torch.randint(len(orders), (1,), generator=self.generator))]]
        return self._fill(tokens)

    def _round(
        self,
        evidence: Evidence,
        current: Tensor,
        score: float,
        orders: Tensor,
        *,
        first: bool,
        wide: bool,
        thorough: bool,
    ) -> tuple[Tensor, float]:
        """Return the best replayed neighbour of a sentence and its score."""
        changed = torch.zeros(0, len(self.free), dtype=torch.long)
        if wide:
            if first:
                current = self._start(evidence, current)
                score = self._score(evidence, current[None])[0].item()
            pool = self._pool(current, first=first, thorough=thorough)
            table = substitutions(evidence, current, self.free, pool)
            changed = self._changed(table, torch.searchsorted(pool, current[self.free]), pool, thorough=thorough)
        moved = self._moved(moves(evidence, current, self.free), current[self.free], orders)
        lists = [torch.cat([changed[:TRIED], moved[:TRIED]])]
        if thorough:
            lists += [*changed[TRIED : TRIED + 2 * BATCH].split(BATCH), *moved[TRIED:].split(BATCH)]
        for part in filter(len, lists):
            found, scores = self._replay(evidence, part)
            if scores[0] < score - GAIN:
                return self._combined(evidence, current, found[:6], scores[:6])
        return current, score

    def _start(self, evidence: Evidence, current: Tensor) -> Tensor:
        pool = self._pool(current, first=True, thorough=True)
        return self._fill(pool[substitutions(evidence, current, self.free, pool).greedy()])

    def _pool(self, current: Tensor, *, first: bool, thorough: bool) -> Tensor:
        """Return the tokens worth a substitution, ascending: likely ones, present ones, missing ones."""
        count = len(self.free)
        reach = count + 30 if first or thorough else count // 2 + 5
        tokens = [self.ranked[:reach], current[self.free], *self._unexplained(current, first, thorough)]
        return torch.cat(tokens).unique()

    def _unexplained(self, current: Tensor, first: bool, thorough: bool) -> list[Tensor]:
        """Return tokens that would explain what the sentence leaves unexplained, by public probes."""
        if first:
            return []
        place = self.white.place
        rows = self.white.blocks(self.white.model.inputs(current[None], [place])[place.name][0])
        order = self.probes.explaining(self.white, rows, self.ranked)
        # After a kick another slice is tried: a token that both rankings misjudge would never have its turn.
        return [order[:15], *([order.roll(-40 * self.kicks)[:40]] if thorough else [])]

    def _replay(self, evidence: Evidence, tokens: Tensor) -> tuple[Tensor, Tensor]:
        sentences = self.ids.repeat(len(tokens), 1)
        sentences[:, self.free] = tokens
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

    def _changed(self, table: FrozenTable, choice: Tensor, pool: Tensor, *, thorough: bool) -> Tensor:
        """Return token lists (M, N) with replaced or reinserted tokens: joined ones, then the best alone."""
        near = replacements(choice, table.options)
        if len(choice) > 1:
            rows = table.fixed + torch.arange(len(choice)) * table.options + choice
            weakest = table.inside[:, rows].square().sum((0, 2)).argsort()
            copies = (choice[:, None] == choice[None]).sum(1).argsort(descending=True)
            width = 8 if thorough else 3
            suspects = torch.cat([weakest[:width], copies[:width]]).unique()
            near = torch.cat([near, reinsertions(choice, suspects, table.missing(choice, width))])
        scores = table.scores(near)
        order = scores.argsort()[: TRIED + 2 * BATCH]
        joined, touched, joins = choice, torch.zeros(len(choice), dtype=torch.bool), []
        for k in order[:TRIED].tolist():
            change = near[k] != choice
            if not bool((change & touched).any()):
                joined, touched = torch.where(change, near[k], joined), touched | change
                joins.append(joined)
        return pool[torch.cat([torch.stack(joins[1:8]) if len(joins) > 1 else near[:0], near[order]])]

    def _moved(self, table: FrozenTable, tokens: Tensor, orders: Tensor) -> Tensor:
        """Return reordered token lists (M, N), best frozen score first, chains of moves in front."""
        scores = table.scores(orders)
        order = scores.argsort()
        here = torch.arange(len(tokens))
        value, chain = float(table.scores(here[None])), []
        for k in order[:24].tolist():
            step = here[orders[k]]
            gain = float(table.scores(step[None]))
            if gain < value - GAIN:
                here, value = step, gain
                chain.append(here)
        lists = torch.stack([*chain[1:][-8:], *orders[order[: 512 + TRIED]]])
        return tokens[lists]
