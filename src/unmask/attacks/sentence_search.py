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
LIMIT = 2500
TRIED = 24
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

    def run(self) -> Iterator[tuple[Tensor, float]]:
        """Yield (sentence, unexplained share in the plain metric) after every round, until solved."""
        count = len(self.free)
        orders = reorderings(count, LIMIT, self.generator)
        current = self._fill(
            self.ranked[torch.randint(min(count + 2, len(self.ranked)), (count,), generator=self.generator)]
        )
        best, best_score = current, self._score(self.plain, current[None])[0].item()
        evidence, stuck, kicks = self.white, 0, 0
        score = float("inf")
        first = True
        while True:
            found, value = self._round(evidence, current, score, orders, first=first, thorough=stuck > 0)
            first = False
            if value < score - GAIN:
                current, score, stuck = found, value, 0
            else:
                stuck += 1
                evidence = self.plain if evidence is self.white else self.white
                score = self._score(evidence, current[None])[0].item()
            plain = self._score(self.plain, current[None])[0].item()
            if plain < best_score:
                best, best_score = current, plain
            yield best, best_score
            if best_score < SOLVED:
                return
            if stuck >= 3:
                kicks += 1
                current, stuck = self._kick(best, orders, 1 + kicks % 3), 0
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
        self, evidence: Evidence, current: Tensor, score: float, orders: Tensor, *, first: bool, thorough: bool
    ) -> tuple[Tensor, float]:
        """Return the best replayed neighbour of a sentence and its score."""
        tokens = current[self.free]
        count = len(tokens)
        reach = count + 30 if first or thorough else count // 2 + 5
        pool = torch.cat([self.ranked[:reach], tokens, *self._unexplained(current, first, thorough)]).unique()
        table = substitutions(evidence, current, self.free, pool)
        choice = torch.searchsorted(pool, tokens)
        if first:
            choice = table.greedy()
            tokens = pool[choice]
            current = self._fill(tokens)
            score = self._score(evidence, current[None])[0].item()
            table = substitutions(evidence, current, self.free, pool)
        changed = self._changed(table, choice, pool, thorough=thorough)
        moved = self._moved(moves(evidence, current, self.free), tokens, orders)
        best, value = current, score
        lists = [torch.cat([changed[:TRIED], moved[:TRIED]])]
        if thorough:
            lists += [*changed[TRIED : TRIED + 2 * BATCH].split(BATCH), *moved[TRIED:].split(BATCH)]
        for part in lists:
            found, scores = self._replay(evidence, part)
            if scores[0] < value - GAIN:
                best, value = self._combined(evidence, current, found[:6], scores[:6])
                break
        return best, value

    def _unexplained(self, current: Tensor, first: bool, thorough: bool) -> list[Tensor]:
        """Return tokens that would explain what the sentence leaves unexplained, by public probes."""
        if first:
            return []
        place = self.white.place
        rows = self.white.blocks(self.white.model.inputs(current[None], [place])[place.name][0])
        return [self.probes.explaining(self.white, rows, self.ranked)[: 40 if thorough else 15]]

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
        """Return token lists (M, N) with replaced or reinserted tokens, best frozen score first."""
        near = replacements(choice, table.options)
        if len(choice) > 1:
            rows = table.inside[0, table.fixed :].view(len(choice), table.options, -1)[
                torch.arange(len(choice)), choice
            ]
            weakest = rows.square().sum(-1).argsort()
            copies = (choice[:, None] == choice[None]).sum(1).argsort(descending=True)
            width = 8 if thorough else 3
            suspects = torch.cat([weakest[:width], copies[:width]]).unique()
            near = torch.cat([near, reinsertions(choice, suspects, table.missing(choice, width))])
        tokens = [pool[part] for part in self._descend(table, choice, near)]
        return torch.cat([torch.stack(tokens), pool[near[table.scores(near).argsort()[: TRIED + 2 * BATCH]]]])[:, :]

    def _descend(self, table: FrozenTable, choice: Tensor, near: Tensor) -> list[Tensor]:
        """Return the path of a few frozen steps, each made of all improvements that add up."""
        path = [choice]
        for _ in range(3):
            scores = table.scores(near)
            order = scores.argsort()[:48]
            current, value = path[-1], float(table.scores(path[-1][None]))
            for k in order.tolist():
                step = torch.where(near[k] != choice, near[k], current)
                gain = float(table.scores(step[None]))
                if gain < value - GAIN:
                    current, value = step, gain
                    path.append(current)
            if torch.equal(current, path[0]) or len(path) > 12:
                break
            near = replacements(current, table.options)
            choice = current
        return path[1:] or path

    def _moved(self, table: FrozenTable, tokens: Tensor, orders: Tensor) -> Tensor:
        """Return reordered token lists (M, N), best frozen score first, chains of moves in front."""
        scores = table.scores(orders)
        order = scores.argsort()
        here = torch.arange(len(tokens))
        value, chain = float(table.scores(here[None])), []
        for k in order[:32].tolist():
            step = here[orders[k]]
            gain = float(table.scores(step[None]))
            if gain < value - GAIN:
                here, value = step, gain
                chain.append(here)
        lists = torch.stack([*chain[1:][-8:], *orders[order[: 512 + TRIED]]])
        return tokens[lists]
