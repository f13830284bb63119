"""Read a sentence from the gradient after an activation, where hidden vectors can be told apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.evidence import Evidence
from unmask.attacks.probes import Probes, random_context
from unmask.attacks.sentences.contexts import Contexts
from unmask.attacks.sentences.sentence_search import SOLVED, SentenceSearch
from unmask.inversion.unmixing import Activation, Unmixing
from unmask.public import Component, Kind, Place, PublicModel

ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "quick_gelu": lambda z: z * torch.sigmoid(1.702 * z),
}
CONTEXTS, LENGTH = 8, 24
WORDS = 1
GUESSES, REPLAYED = 4, 64
SQUARES = 2
FEWEST = 1 / 3
"""Words tried for each vector, guesses and replays for a missing one, Latin squares that measure the metric of
positions, and the share of the rank below which the vectors found are too few to begin with."""


@dataclass(kw_only=True, eq=False)
class UnmixedSearch:
    """Find the vectors before the activation one by one, then the sentence that has them.

    The vectors found so far are the evidence of a sentence search before the activation, whose best guess in turn
    leads to the vectors still missing. The span after the activation decides.

    Args:
        outer: evidence of the map after the activation.
        unmixing: what finds vectors.
        inner: the map before the activation.
        ids: (n,) sentence with the known tokens in place.
        free: positions of the unknown tokens.
        ranked: allowed tokens.
        probes: public statistics of the inner place.
        generator: source of all chance.
        plain: makes the search in the span after the activation, which is what is left when no vector helps.
    """

    outer: Evidence
    unmixing: Unmixing
    inner: Place
    ids: Tensor
    free: Tensor
    ranked: Tensor
    probes: Probes
    generator: torch.Generator
    plain: Callable[[], SentenceSearch]
    replays: int = field(default=0, init=False)
    vectors: list[Tensor] = field(default_factory=list, init=False)

    def run(self) -> Iterator[tuple[Tensor, float]]:
        """Yield (sentence, unexplained share after the activation) after every round, until solved."""
        current = self.ids.clone()
        current[self.free] = self.ranked[torch.arange(len(self.free)) % len(self.ranked)]
        shown = current.clone()
        for k, vector in enumerate(self.unmixing.run()):
            self.vectors.append(vector)
            shown[self.free[k % len(self.free)]] = self._word(vector)
            yield shown.clone(), 1.0  # a caller's time may be up: the words are right, their order is not known yet
        enough = len(self.vectors) >= FEWEST * self.outer.rank
        while enough:
            before = current
            current, empty = self._assigned(current, self._metric())
            share = self._share(current)
            yield current, share
            if share < SOLVED:
                return
            if bool((current != before).any()) or self._harvest(current, empty):
                continue
            better = self._replaced(current, empty)
            if bool((better == current).all()):
                break
            current = better
            yield current, self._share(current)
            if not self._harvest(current, empty):
                break
        if enough:
            search = self._search(current)
            for current, _ in search.run():
                share = self._share(current)
                yield current, share
                if share < SOLVED:
                    return
        plain = self.plain()
        plain.begin = current if enough else None
        yield from plain.run()
        self.replays += plain.replays

    def _search(self, begin: Tensor) -> SentenceSearch:
        return SentenceSearch(
            plain=self._inner(),
            ids=self.ids,
            free=self.free,
            ranked=self._nearest(),
            probes=self.probes,
            generator=self.generator,
            begin=begin,
        )

    def _share(self, sentence: Tensor) -> float:
        self.replays += 1
        return float(self.outer.of_sequences(sentence[None])[0])

    def _inner(self) -> Evidence:
        basis, _ = torch.linalg.qr(torch.stack(self.vectors, 1).double())
        return Evidence(model=self.outer.model, place=self.inner, bases=basis[None])

    def _metric(self) -> Tensor:
        """Return (d, d) of the metric that discounts what the order and the company of the found words change."""
        pool = self._nearest()[: max(len(self.free), len(self.vectors))]
        contexts = Contexts.measure(self._inner(), self.ids, self.free, pool, SQUARES, self.generator)
        return contexts.white[0]

    def _assigned(self, current: Tensor, metric: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sentence in which each vector has the position and word that explain it best, and what is left.

        Every position is tried with every vector's nearest words in the context of the current sentence; the least
        total distance, in the metric that discounts what contexts change, is an assignment problem.
        """
        white, vectors = self.probes.white[0], torch.stack(self.vectors)
        near = torch.cdist(self.probes.rows[0, self.ranked] @ white, vectors @ white)
        words = self.ranked[near.topk(WORDS, dim=0, largest=False).indices]  # (WORDS, k)
        where = self.free.repeat_interleave(words.numel())
        tokens = words.flatten().repeat(len(self.free))
        rows = self.outer.model.substituted_inputs(current, where, tokens, self.inner)
        rows = rows.unflatten(0, (len(self.free), *words.shape))
        apart = ((rows - vectors) @ metric).norm(dim=-1)  # (positions, WORDS, k)
        least, which = apart.min(1)
        # Vectors of the known tokens go to their own places.
        known = torch.ones(len(current), dtype=torch.bool)
        known[self.free] = False
        own = self.outer.model.inputs(current[None], [self.inner])[self.inner.name][0, known]
        least = torch.cat([least, torch.cdist(own @ metric, vectors @ metric)])
        pairs = torch.from_numpy(np.stack(linear_sum_assignment(least.numpy())))
        at, of = pairs[:, pairs[0] < len(self.free)]
        found = current.clone()
        found[self.free[at]] = words[which[at, of], of]
        left = torch.ones(len(self.free), dtype=torch.bool)
        left[at] = False
        return found, self.free[left]

    def _word(self, vector: Tensor) -> Tensor:
        """Return the allowed token whose probe is nearest to a vector."""
        apart = (self.probes.rows[0, self.ranked] - vector) @ self.probes.white[0]
        return self.ranked[apart.norm(dim=1).argmin()]

    def _nearest(self) -> Tensor:
        """Return the allowed tokens again, those first whose probe is among the nearest to one of the vectors."""
        rows = self.probes.rows[0, self.ranked] @ self.probes.white[0]
        far = torch.cdist(rows, torch.stack(self.vectors) @ self.probes.white[0])
        rank = far.argsort(0).argsort(0).amin(1)
        return self.ranked[rank.argsort(stable=True)]

    def _harvest(self, sentence: Tensor, empty: Tensor) -> bool:
        """Look for the vectors of positions that have none; return whether one is found."""
        before = len(self.vectors)
        for position in empty.tolist():
            guesses, order = self._guesses(sentence, position)
            for guess in guesses[order[:GUESSES]]:
                found = self.unmixing.from_guess(guess)
                if found is not None and not self.unmixing.known(found, self.vectors):
                    self.vectors.append(found)
                    break
        return len(self.vectors) > before

    def _replaced(self, sentence: Tensor, empty: Tensor) -> Tensor:
        """Return the sentence with the word that replays best at each position that has no vector."""
        for position in empty.tolist():
            _, order = self._guesses(sentence, position)
            trials = sentence.repeat(REPLAYED + 1, 1)
            trials[1:, position] = self.ranked[order[:REPLAYED]]
            self.replays += len(trials)
            sentence = trials[self.outer.of_sequences(trials).argmin()]
        return sentence

    def _guesses(self, sentence: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Return what each ranked word would have at a position (V, d), and their order, likeliest first.

        It is guessed from what the present word has there, and the difference of their probes.
        """
        row = self.outer.model.inputs(sentence[None], [self.inner])[self.inner.name][0, position]
        guesses = row + self.probes.rows[0, self.ranked] - self.probes.rows[0, sentence[position]]
        return guesses, self.unmixing.shares(guesses, self.vectors).argsort()


def inner_place(model: PublicModel, place: Place) -> Place | None:
    """Return the map before the activation that feeds a map, or None if there is none without a gate."""
    if place.component is not Component.FFN_OUT:
        return None
    layer = [p for p in model.places if p.layer == place.layer and p.kind is Kind.WEIGHT]
    if any(p.component is Component.FFN_GATE for p in layer):
        return None
    rises = (p for p in layer if p.component is Component.FFN_IN and p.shape[0] == place.shape[1])
    return next(rises, None)


def unmixing(evidence: Evidence, inner: Place, allowed: Tensor, generator: torch.Generator) -> Unmixing | None:
    """Return the search behind the activation between two places, or None if no known one stands there.

    Args:
        evidence: of the map after the activation.
        inner: the map before it.
        allowed: token ids that can occur.
        generator: source of the public sentences and of the directions.
    """
    model, place = evidence.model, evidence.place
    length = min(LENGTH, model.max_length)
    ids = torch.stack([random_context(model, allowed, length, generator) for _ in range(CONTEXTS)])
    inputs = model.inputs(ids, [inner, place])
    before, after = inputs[inner.name].flatten(0, 1), inputs[place.name].flatten(0, 1)
    weight, bias = model.affine(inner)
    z = before @ weight.T + bias
    for function in ACTIVATIONS.values():
        if torch.allclose(function(z), after, atol=1e-4, rtol=1e-4):
            return Unmixing(
                basis=evidence.bases[0],
                weight=weight.float(),
                bias=bias.float(),
                activation=function,
                centre=before.mean(0).double(),
                generator=generator,
            )
    return None
