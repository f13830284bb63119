"""Find a sentence by the slope of any distance that its replayed inputs can be given."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unmask.attacks.rough import rough
from unmask.attacks.sentences.neighbours import joined, kicked, reorderings
from unmask.attacks.sentences.word_ranking import WordRanking, features
from unmask.public import Place, PublicModel

GAIN = 1e-9
ORDERS = 40
CHANCE = 24
LIMIT = 2000
JOINED = 12
WORDS, REPLAYED = 1200, 80
"""Words tried in a frozen context in each round, see below, and how many of them are replayed."""
COMMON = 8
"""The first eighth of a vocabulary holds the common words."""
STUCK = 6
AT_ONCE = 64
FINE = 0.03
"""Distance above which replays are rough."""


@runtime_checkable
class Goal(Protocol):
    """What the inputs of the right sentence come close to."""

    @property
    def solved(self) -> float:
        """Distance that float32 replays of the right sentence stay below, and of no other."""

    def distance(self, inputs: Tensor) -> Tensor:
        """Return a distance (C,) for inputs (C, n, d_in) of the place, differentiable; it reads the first position."""

    def promises(self, inputs: Tensor, tokens: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
        """Return further rankings (N, V) of tokens at positions, low where a change promises much.

        Args:
            inputs: (n, d_in) of the sentence.
            tokens: (N,) its unknown tokens.
            slope: (N, V) the change of the distance to first order.
        """


@dataclass(kw_only=True, eq=False)
class GuidedSearch:
    """Coordinate search over words and their order, guided by the slope of a distance.

    Each round replays the words that the slope and the goal's own rankings promise most of, at
    every position, and reordered sentences; the best is taken, or a join of several.

    Args:
        model: the public model.
        place: whose inputs are compared.
        goal: the distance.
        start: (n,) first guess, with the known tokens in place.
        free: (N,) positions of the unknown tokens.
        allowed: token ids that can occur.
        generator: source of all chance.

    Source:
        Token substitution along the slope: Ebrahimi et al., ACL 2018 (HotFlip).
    """

    model: PublicModel
    place: Place
    goal: Goal
    start: Tensor
    free: Tensor
    allowed: Tensor
    generator: torch.Generator
    replays: int = field(default=0, init=False)
    fine: bool = field(default=False, init=False)
    tried: WordRanking = field(init=False)

    def __post_init__(self) -> None:
        known = features(self.model.embedding())
        self.tried = WordRanking(known[self.allowed], len(self.free))

    def run(self) -> Iterator[tuple[Tensor, float]]:
        """Yield (sentence, loss) of the best guess after every round, until solved."""
        count = len(self.free)
        orders = reorderings(count, LIMIT, self.generator)
        current = self.start
        loss, stuck = self._losses(current[None])[0].item(), 0
        best, best_loss = current, loss
        while True:
            found, value = self._round(current, orders, stuck)
            if value < loss - GAIN:
                current, loss, stuck = found, value, 0
            else:
                stuck += 1
            if loss < best_loss:
                best, best_loss = current, loss
            yield best, best_loss
            if best_loss < self.goal.solved:
                return
            if not self.fine and loss < FINE:
                self.fine = True
            elif stuck >= STUCK:
                current, stuck, self.fine = kicked(best, self.free, self.allowed, self.generator), 0, False
            else:
                continue
            loss = self._losses(current[None])[0].item()

    def _losses(self, sentences: Tensor) -> Tensor:
        self.replays += len(sentences)
        with nullcontext() if self.fine else rough():
            parts = [self.model.inputs(part, [self.place])[self.place.name] for part in sentences.split(AT_ONCE)]
        return self.goal.distance(torch.cat(parts).to(self.model.embedding().dtype))

    def _round(self, current: Tensor, orders: Tensor, stuck: int) -> tuple[Tensor, float]:
        """Return the best of some hundred neighbours, and of joins of the best ones, with its loss."""
        slope, rankings = self._rankings(current)
        trials = torch.cat([self._words(current, rankings, stuck), self._orders(current, slope, orders)])
        losses = self._losses(trials)
        joins = joined(current, trials[losses.argsort()[:JOINED]])
        if len(joins):
            trials, losses = torch.cat([trials, joins]), torch.cat([losses, self._losses(joins)])
        pick = int(losses.argmin())
        return trials[pick], losses[pick].item()

    def _rankings(self, current: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the change of the distance that each token (N, V) promises by its slope, and all rankings."""
        table, tokens = self.model.embedding(), current[self.free]
        embeddings = table[current][None].clone().requires_grad_(True)
        inputs = self.model.inputs_from_embeddings(embeddings, [self.place])[self.place.name]
        (found,) = torch.autograd.grad(self.goal.distance(inputs).sum(), [embeddings])
        mine = found[0][self.free].to(table.dtype)
        slope = mine @ table.T - (mine * table[tokens]).sum(1, keepdim=True)
        likely = torch.full_like(slope, float("inf"))
        likely[:, self.allowed] = self.tried.predicted()
        return slope, (slope, likely, *self.goal.promises(inputs[0].detach(), tokens, slope))

    def _words(self, current: Tensor, rankings: tuple[Tensor, ...], stuck: int) -> Tensor:
        """Return sentences with one word replaced, the best of every ranking; a stuck search goes down in each.

        Half of them are common words. Byte-pair and word-piece vocabularies list tokens by how
        often they occur, and a slope has tens of thousands of rare ones to overrate. All are tried in
        a frozen context, in which the first position alone reacts; the best of these are returned.
        """
        each = max(1, WORDS // (2 * len(rankings) * len(self.free)))
        chosen = []
        for pool in (self.allowed, self.allowed[: -(-len(self.allowed) // COMMON)]):
            for scores in rankings:
                order = scores[:, pool].topk(min(each * (1 + stuck), len(pool)), largest=False).indices
                chosen.append(pool[order[:, -each:]])
        tokens = torch.cat(chosen, 1)
        where, tokens = self.free.repeat_interleave(tokens.shape[1]), tokens.flatten()
        with rough():
            watched = self.model.watched_inputs(current, where, tokens, self.place)
        distances = self.goal.distance(watched[:, None].to(self.model.embedding().dtype))
        self._learn(tokens.view(len(self.free), -1), distances.view(len(self.free), -1))
        best = distances.argsort()[:REPLAYED]
        where, tokens = where[best], tokens[best]
        trials = current.repeat(len(tokens), 1)
        trials[torch.arange(len(trials)), where] = tokens
        return trials

    def _learn(self, tokens: Tensor, distances: Tensor) -> None:
        """Let the distances (N, C) of tokens (N, C) tried at every position speak for the untried ones."""
        index = torch.zeros(int(self.allowed.max()) + 1, dtype=torch.long)
        index[self.allowed] = torch.arange(len(self.allowed))
        self.tried.fade()
        for i, (words, found) in enumerate(zip(index[tokens], distances, strict=True)):
            self.tried.add(i, words, found)

    def _orders(self, current: Tensor, slope: Tensor, orders: Tensor) -> Tensor:
        """Return reordered sentences: those that the slope likes best, and some by chance."""
        tokens = current[self.free]
        promise = slope[torch.arange(len(tokens)), tokens[orders]].sum(1)
        chance = torch.randint(len(orders), (CHANCE,), generator=self.generator)
        chosen = torch.cat([promise.argsort()[:ORDERS], chance]).unique()
        trials = current.repeat(len(chosen), 1)
        trials[:, self.free] = tokens[orders[chosen]]
        return trials
