"""Exact span search: the rows of a weight gradient span the inputs, so test what could have been one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from unmask.attack import Reconstruction
from unmask.attacks.batches.batch import read_batch
from unmask.attacks.evidence import Evidence, gather
from unmask.attacks.first_layer import read_sentence
from unmask.attacks.layout import allowed_tokens, labellings, layout, noise_deviation
from unmask.attacks.prefixes.last_token import last_token
from unmask.attacks.prefixes.prefix_batch import PrefixBatch
from unmask.attacks.prefixes.prefix_search import PrefixSearch
from unmask.attacks.probes import Probes
from unmask.attacks.rehearsal import Rehearsal, rehearse
from unmask.attacks.replay import Replay
from unmask.attacks.sentences.last_attention import attention_places
from unmask.attacks.sentences.sentence_search import SentenceSearch
from unmask.attacks.sentences.swept_search import SweptSearch
from unmask.attacks.sentences.unmixed_search import UnmixedSearch, inner_place, unmixing
from unmask.attacks.sentences.vector_search import read_vector
from unmask.attacks.spans import visible_space
from unmask.observation import Observation
from unmask.public import Component, Kind, Place
from unmask.rng import generator as named

NOTHING = "the gradient is zero there: no position reaches this component"

NO_FIRST = (
    "the first position does not reach this component, and no special token is known to stand there, "
    "so no prefix can be tested; see another component, such as ffn.in, as well"
)


@dataclass(frozen=True, kw_only=True)
class SpanSearch:
    """Recover sequences exactly from the row spaces of visible weight gradients.

    `dL/dW = sum_i dy_i x_i^T`: the rows span the inputs x_i while there are fewer tokens than
    d_in. First layers are read from a closed form (every token at every position at once), causal
    layers prefix by prefix, bidirectional ones by local search with exact replays. A sequence
    proves itself: its replayed gradient equals the one seen.

    Args:
        name: registered name.
        source: publication.
        seed: seed of the public rehearsals and probes, which depend on the model alone.

    Source:
        Petrov et al. 2024 (DAGER) for spans of the first two layers; the search through later
        layers, single components and keys is this project's own.
    """

    name: str = "span"
    source: str = "Petrov et al., NeurIPS 2024, and this project"
    seed: int = 0

    def run(self, observation: Observation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield guesses until one is certified or nothing is left to try.

        Args:
            observation: what was seen.
            generator: source of the search's chance.
        """
        places = [p for p in observation.places if p.kind is Kind.WEIGHT and p.layer is not None]
        if not places:
            yield Reconstruction(tokens=(), loss=float("inf"), note="no weight of a layer is visible", done=True)
            return
        tables = [place for place in places if observation.model.input_table(place) is not None]
        if observation.model.causal:
            yield from self._causal(observation, [p for p in places if p not in tables] or places, generator)
        elif (observation.knowledge.batch or 1) > 1:
            yield from read_batch(observation, places, generator, seed=self.seed)
        elif tables:
            rehearsed = self._rehearse(observation, tables[0])
            yield from (self._judged(observation, g) for g in read_sentence(observation, tables[0], rehearsed))
        else:
            yield from self._bidirectional(observation, places, generator)

    def _rehearse(self, observation: Observation, place: Place) -> Rehearsal:
        own = named(self.seed, "rehearsal", place.name)
        return rehearse(observation.model, place, allowed_tokens(observation), own)

    def _bidirectional(
        self, observation: Observation, places: list[Place], generator: torch.Generator
    ) -> Iterator[Reconstruction]:
        rehearsals = {place.name: self._rehearse(observation, place) for place in places}
        place = max(places, key=lambda p: (rehearsals[p.name].rank, -(p.layer or 0)))
        seen = rehearsals[place.name]
        if seen.rank == 0:
            yield Reconstruction(tokens=(), loss=float("inf"), note=NOTHING, absent=True, done=True)
            return
        model, knowledge = observation.model, observation.knowledge
        rank = visible_space(observation, place).rank
        if seen.single and rank == 1:
            for guess in read_vector(observation, place, generator, seed=self.seed):
                yield self._judged(observation, guess)
            return
        inferred = min(rank + (seen.missing if seen.complete else 0), model.max_length)
        length = knowledge.lengths[0] if knowledge.lengths else inferred
        if rank == 0 or length <= len(model.vocabulary.prefix) + len(model.vocabulary.suffix):
            yield Reconstruction(tokens=(), loss=float("inf"), note=f"rank {rank} leaves no token to find", done=True)
            return
        evidence = gather(
            model,
            place,
            observation.tensors[place.name],
            differences=seen.differences,
            dtype=knowledge.dtype,
            noise=noise_deviation(observation),
        )
        search = self._search(observation, place, evidence, length, generator)
        for sentence, share in search.run():
            guess = Reconstruction(tokens=(tuple(sentence.tolist()),), loss=share, note=f"{search.replays} replays")
            yield self._judged(observation, guess)

    def _search(
        self, observation: Observation, place: Place, evidence: Evidence, length: int, generator: torch.Generator
    ) -> SentenceSearch | SweptSearch | UnmixedSearch:
        allowed, blanks = allowed_tokens(observation), layout(observation, (length,))
        start, free = blanks.ids[0], blanks.free[0].nonzero()[:, 0]

        def plain() -> SentenceSearch:
            probes = Probes.cached(evidence, allowed, named(self.seed, "probes", place.name))
            order = probes.distances(evidence, allowed).argsort()[: len(allowed)]
            return SentenceSearch(
                plain=evidence, ids=start, free=free, ranked=order, probes=probes, generator=generator
            )

        inner = inner_place(observation.model, place) if observation.knowledge.exact else None
        apart = unmixing(evidence, inner, allowed, generator) if inner else None
        if inner and apart:
            flat = Evidence(model=observation.model, place=inner, bases=evidence.bases[:, : inner.shape[1]])
            return UnmixedSearch(
                outer=evidence,
                unmixing=apart,
                inner=inner,
                ids=start,
                free=free,
                ranked=allowed,
                probes=Probes.cached(flat, allowed, named(self.seed, "probes", inner.name)),
                generator=generator,
                plain=plain,
            )
        mixed = place.component is Component.ATTENTION_OUTPUT and evidence.place is place
        maps = attention_places(observation.model, place) if mixed else None
        if maps is None:
            return plain()
        return SweptSearch(plain=evidence, places=maps, ids=start, free=free, allowed=allowed, generator=generator)

    def _causal(
        self, observation: Observation, places: list[Place], generator: torch.Generator
    ) -> Iterator[Reconstruction]:
        model = observation.model
        rehearsals = {place.name: self._rehearse(observation, place) for place in places}
        place = max(places, key=lambda p: (len(rehearsals[p.name].visible), -(p.layer or 0)))
        seen = rehearsals[place.name]
        space = visible_space(observation, place)
        search = PrefixSearch(
            model=model,
            place=place,
            space=space,
            allowed=allowed_tokens(observation),
            inside=seen.inside,
            generator=generator,
        )
        if min(seen.visible, default=0) > len(model.vocabulary.prefix):
            yield Reconstruction(tokens=(), loss=float("inf"), note=NO_FIRST, done=True)
            return
        tail = 0 if seen.length - 1 in seen.visible else 1
        if (observation.knowledge.batch or 1) > 1:
            yield from PrefixBatch(observation=observation, search=search, tail=tail, generator=generator).run()
            return
        # A causal query's first position attends to itself alone, whatever its query: rank falls short by one more.
        length = min(space.rank + (seen.missing - tail if seen.complete else 0), model.max_length)
        best: tuple[int, ...] = ()
        for prefix, _ in search.run(length):
            if len(prefix) > len(best):
                best = prefix
                share = 1 - len(prefix) / max(1, length)
                yield Reconstruction(tokens=(prefix,), loss=1 + share, note=f"{search.tested} continuations tested")
        if tail and len(best) >= 1 and model.classes is None:
            token, _ = last_token(observation, torch.tensor(best), list(observation.places_of(Kind.WEIGHT)), generator)
            best = (*best, token)
        guess = Reconstruction(tokens=(best,), loss=1.0, note=f"{search.tested} continuations tested", done=True)
        yield self._judged(observation, guess) if len(best) > 1 else guess

    def _judged(self, observation: Observation, guess: Reconstruction) -> Reconstruction:
        """Attach the replay residual of a whole guess, over all labellings where labels are unknown."""
        if not guess.tokens or (guess.loss > 1e-3 and not guess.done):
            return guess
        ids = torch.tensor([guess.tokens[0]])
        replay = Replay.of(observation, torch.ones_like(ids, dtype=torch.bool))
        targets = labellings(observation, 1)
        trials = [ids] if targets is None else list(targets)
        residual = min(replay.residual(ids, target) for target in trials)
        proved = residual < 1e-3 and observation.knowledge.exact
        return replace(guess, residual=residual, done=guess.done or proved, loss=min(guess.loss, residual))
