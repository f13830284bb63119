"""Find the sentence behind one vector: what the first position takes from all the others in a last layer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attack import Reconstruction
from unmask.attacks.layout import allowed_tokens, layout
from unmask.attacks.neighbours import reorderings
from unmask.attacks.response import Response, directions
from unmask.observation import Observation
from unmask.public import Place, PublicModel
from unmask.rng import generator as named

SOLVED = 1e-8
"""Loss that float32 replays of the true sentence stay below; measured 1e-14 to 1e-12, one wrong word 1e-2 and more."""
GAIN = 1e-9
WORDS = 240
ORDERS = 40
CHANCE = 24
LIMIT = 2000
JOINED = 12
STUCK = 6
LENGTHS = (6, 9, 12, 16, 22, 30)
"""Lengths to try where the length is unknown: one vector has no rank to count."""
ROUNDS = 6
"""Rounds that each of them has before the best goes on alone."""


@dataclass(kw_only=True, eq=False)
class VectorSearch:
    """Coordinate search over words and their order, guided by the slope of the vector's distance.

    A component that only the first position reaches has a gradient of rank one, `dy h^T`: its
    right vector is the direction of one input h. That input has attended to every word, and far
    more digits of it are seen than a sentence has bits. The squared distance of directions,
    whitened by the spread over public random sentences, grows about evenly with each wrong word,
    and words of like meaning lie in between, so that a descent by single words finds its way.

    Args:
        model: the public model.
        place: the component's place.
        vector: (d,) right singular vector of its gradient, of any sign.
        ids: (n,) sentence with the known tokens in place.
        free: (N,) positions of the unknown tokens.
        allowed: token ids that can occur.
        response: public statistics of the place.
        generator: source of all chance.

    Source:
        Token substitution along the slope: Ebrahimi et al., ACL 2018 (HotFlip); the whitened
        distance, the word response and the use on rank-one gradients are this project's own.
    """

    model: PublicModel
    place: Place
    vector: Tensor
    ids: Tensor
    free: Tensor
    allowed: Tensor
    response: Response
    generator: torch.Generator
    replays: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        unit = F.normalize(self.vector, dim=0).to(self.response.mean.dtype)
        self.vector = unit if float(unit @ self.response.mean) >= 0 else -unit

    def run(self) -> Iterator[tuple[Tensor, float]]:
        """Yield (sentence, loss) of the best guess after every round, until solved."""
        count = len(self.free)
        orders = reorderings(count, LIMIT, self.generator)
        current = self.ids.clone()
        current[self.free] = self.response.likely(self.vector, self.allowed, count)
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
            if best_loss < SOLVED:
                return
            if stuck >= STUCK:
                current, stuck = self._kick(best), 0
                loss = self._losses(current[None])[0].item()

    def _distance(self, directions: Tensor) -> Tensor:
        apart = (directions - self.vector) @ self.response.white
        return apart.square().sum(-1) / len(self.vector)

    def _losses(self, sentences: Tensor) -> Tensor:
        self.replays += len(sentences)
        return self._distance(directions(self.model, self.place, sentences))

    def _kick(self, sentence: Tensor) -> Tensor:
        """Replace a quarter of the words by others that the linear model finds for what they leave."""
        kicked = sentence.clone()
        gone = self.free[torch.randperm(len(self.free), generator=self.generator)[: 1 + len(self.free) // 4]]
        kicked[gone] = self.allowed[torch.randint(len(self.allowed), gone.shape, generator=self.generator)]
        return kicked

    def _round(self, current: Tensor, orders: Tensor, stuck: int) -> tuple[Tensor, float]:
        """Return the best of some hundred neighbours, and of joins of the best ones, with its loss."""
        slope, apart = self._slopes(current)
        trials = torch.cat([self._words(current, slope, apart, stuck), self._orders(current, slope, orders)])
        losses = self._losses(trials)
        ranked = losses.argsort()
        joined, touched, joins = trials[ranked[0]], trials[ranked[0]] != current, []
        for k in ranked[1:JOINED].tolist():
            change = trials[k] != current
            if not bool((change & touched).any()):
                joined, touched = torch.where(change, trials[k], joined), touched | change
                joins.append(joined)
        if joins:
            more = torch.stack(joins)
            trials, losses = torch.cat([trials, more]), torch.cat([losses, self._losses(more)])
        pick = int(losses.argmin())
        return trials[pick], losses[pick].item()

    def _slopes(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change of the loss that each token (N, V) promises by its slope, and the vector's error (d,)."""
        table = self.model.embedding()
        embeddings = table[current][None].clone().requires_grad_(True)
        inputs = self.model.inputs_from_embeddings(embeddings, [self.place])[self.place.name]
        here = F.normalize(inputs[:, 0], dim=-1)
        (found,) = torch.autograd.grad(self._distance(here).sum(), [embeddings])
        slope = found[0][self.free]
        own = (slope * table[current[self.free]]).sum(1, keepdim=True)
        return slope @ table.T - own, (here[0].detach() - self.vector) @ self.response.white

    def _words(self, current: Tensor, slope: Tensor, apart: Tensor, stuck: int) -> Tensor:
        """Return sentences with one word replaced, by three rankings; a search that is stuck goes down in each.

        The slope alone; the slope with the square of the linear model's effect, which holds back
        words that overshoot; the linear model alone, which knows no position.
        """
        effects = self.response.effects @ self.response.white / len(self.free)
        lengths, mine = effects.square().sum(1), effects[current[self.free]]
        square = (lengths + mine.square().sum(1)[:, None] - 2 * mine @ effects.T) / len(apart)
        linear = 2 * (effects @ apart - (mine @ apart)[:, None]) / len(apart) + square
        each = max(2, WORDS // (3 * len(self.free)))
        chosen = []
        for scores in (slope, slope + square, linear):
            order = scores[:, self.allowed].topk(min(each * (1 + stuck), len(self.allowed)), largest=False).indices
            chosen.append(self.allowed[order[:, -each:]])
        tokens = torch.cat(chosen, 1)
        trials = current.repeat(tokens.numel(), 1)
        trials[torch.arange(len(trials)), self.free.repeat_interleave(tokens.shape[1])] = tokens.flatten()
        return trials

    def _orders(self, current: Tensor, slope: Tensor, orders: Tensor) -> Tensor:
        """Return reordered sentences: those that the slope likes best, and some by chance."""
        tokens = current[self.free]
        promise = slope[torch.arange(len(tokens)), tokens[orders]].sum(1)
        chance = torch.randint(len(orders), (CHANCE,), generator=self.generator)
        chosen = torch.cat([promise.argsort()[:ORDERS], chance]).unique()
        trials = current.repeat(len(chosen), 1)
        trials[:, self.free] = tokens[orders[chosen]]
        return trials


def read_vector(
    observation: Observation, place: Place, generator: torch.Generator, *, seed: int
) -> Iterator[Reconstruction]:
    """Yield ever better guesses from a gradient of rank one, of which only the right vector is used.

    Args:
        observation: what was seen.
        place: a weight that only the first position reaches.
        generator: source of the search's chance.
        seed: seed of the public random sentences.
    """
    model, allowed = observation.model, allowed_tokens(observation)
    _, _, rows = torch.linalg.svd(observation.tensors[place.name].double(), full_matrices=False)
    known = len(model.vocabulary.prefix) + len(model.vocabulary.suffix)
    lengths = observation.knowledge.lengths or tuple(n for n in LENGTHS if known < n <= model.max_length)

    def search(length: int) -> VectorSearch:
        blanks = layout(observation, (length,))
        response = Response.measure(model, place, length, allowed, named(seed, "response", place.name, length))
        return VectorSearch(
            model=model,
            place=place,
            vector=rows[0],
            ids=blanks.ids[0],
            free=blanks.free[0].nonzero()[:, 0],
            allowed=allowed,
            response=response,
            generator=generator,
        )

    searches = [search(length) for length in lengths]
    running = [one.run() for one in searches]
    losses = [float("inf")] * len(lengths)
    # One known length goes on alone from the start; of several, the best after some rounds.
    for k, guesses in enumerate(running):
        for sentence, loss in islice(guesses, ROUNDS if len(lengths) > 1 else None):
            losses[k] = loss
            yield Reconstruction(tokens=(tuple(sentence.tolist()),), loss=loss, note=f"{searches[k].replays} replays")
    best = min(range(len(lengths)), key=losses.__getitem__)
    for sentence, loss in running[best]:
        yield Reconstruction(tokens=(tuple(sentence.tolist()),), loss=loss, note=f"{searches[best].replays} replays")
