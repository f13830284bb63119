"""Read the words of a first layer from its span: one test per token and position."""

from collections.abc import Iterator

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.batch_assembly import BatchAssembly
from unmask.attacks.layout import allowed_tokens, noise_deviation
from unmask.attacks.rehearsal import Rehearsal, rehearse
from unmask.attacks.threshold import between
from unmask.attacks.vocabulary_test import vocabulary_distances
from unmask.observation import Observation
from unmask.public import Place
from unmask.rng import generator as named
from unmask.subspace import Subspace, row_space

STARTS = 60


def position_distances(observation: Observation, place: Place, space: Subspace, positions: int, *, differences: bool) -> Tensor:
    """Return the span distance (V, positions) of every token at every position; special ids are infinite."""
    model = observation.model
    table = model.input_table(place)
    if table is None:
        raise ValueError(f"{place.name} has no closed form")
    reference = None
    if differences:
        first = model.vocabulary.prefix[0] if model.vocabulary.prefix else 0
        reference = table.rows(torch.tensor(first), torch.tensor(0))
    return vocabulary_distances(table, space, positions, reference=reference)


def read_sentence(observation: Observation, place: Place, rehearsed: Rehearsal) -> Iterator[Reconstruction]:
    """Yield the one sentence whose every token lies in the first layer's span at its position."""
    knowledge, vocabulary = observation.knowledge, observation.model.vocabulary
    space = row_space(observation.tensors[place.name], dtype=knowledge.dtype, noise=noise_deviation(observation))
    length = knowledge.lengths[0] if knowledge.lengths else space.rank + rehearsed.missing
    distances = position_distances(observation, place, space, length, differences=rehearsed.differences)
    allowed = allowed_tokens(observation)
    tokens = allowed[distances[allowed].argmin(0)]
    prefix, suffix = len(vocabulary.prefix), len(vocabulary.suffix)
    tokens[:prefix] = torch.tensor(vocabulary.prefix, dtype=torch.long)
    tokens[length - suffix :] = torch.tensor(vocabulary.suffix, dtype=torch.long)
    inner = tokens[prefix : length - suffix]
    own = distances[inner, torch.arange(prefix, length - suffix)]
    limit = between(rehearsed.inside, distances[allowed][:, prefix : length - suffix].flatten()[::97], len(allowed))
    count = (distances[allowed][:, prefix : length - suffix] < limit).sum().item()
    yield Reconstruction(
        tokens=(tuple(tokens.tolist()),),
        loss=float(own.mean()) if len(own) else 0.0,
        confidence=(tuple((own < limit).double().tolist()),),
        note=f"{int(count)} of {len(allowed) * len(inner)} tokens x positions lie in the span",
        done=True,
    )


def read_batch(
    observation: Observation, places: list[Place], generator: torch.Generator, *, seed: int
) -> Iterator[Reconstruction]:
    """Yield the sentences of a batch: words from a first layer's span, their grouping from a later one's."""
    model, knowledge = observation.model, observation.knowledge
    tables = [place for place in places if model.input_table(place) is not None]
    later = [place for place in places if place not in tables]
    if not tables:
        yield Reconstruction(
            tokens=(), loss=float("inf"), note="a batch needs a first-layer query, key or value", done=True
        )
        return
    allowed = allowed_tokens(observation)
    rehearsals = {p.name: rehearse(model, p, allowed, named(seed, "rehearsal", p.name)) for p in places}
    tables.sort(key=lambda p: rehearsals[p.name].differences)
    options, lengths = words(observation, tables[0], rehearsals[tables[0].name])
    bag = tuple(int(t) for tokens in options for t in tokens if int(t) not in model.vocabulary.special)
    if not later:
        yield Reconstruction(tokens=(), bag=bag, loss=1.0, note="words only: a second layer would tell their order", done=True)
        return
    place = min(later, key=lambda p: (rehearsals[p.name].differences, p.layer or 0))
    space = row_space(observation.tensors[place.name], dtype=knowledge.dtype, noise=noise_deviation(observation))
    null = torch.rand(0)
    assembly = BatchAssembly(
        model=model, place=place, space=space, options=options, inside=1e-6, generator=generator
    )
    del null
    yield from _assemble(observation, assembly, lengths, bag)


def words(observation: Observation, place: Place, rehearsed: Rehearsal) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Return the tokens that a first layer allows at each position, and the sentence lengths they end at."""
    knowledge, model = observation.knowledge, observation.model
    space = row_space(observation.tensors[place.name], dtype=knowledge.dtype, noise=noise_deviation(observation))
    positions = min(model.max_length, max(knowledge.lengths) if knowledge.lengths else 128, space.rank + 1)
    distances = position_distances(observation, place, space, positions, differences=rehearsed.differences)
    allowed = allowed_tokens(observation)
    limit = between(rehearsed.inside, distances[allowed].flatten()[::97], len(allowed) * positions)
    suffix = model.vocabulary.suffix
    options = [allowed[distances[allowed, i] < limit] for i in range(positions)]
    for i, token in enumerate(model.vocabulary.prefix):
        options[i] = torch.tensor([token])
    ends = [i + len(suffix) for i in range(positions) if suffix and distances[suffix[0], i] < limit]
    return tuple(options), tuple(ends)


def _assemble(
    observation: Observation, assembly: BatchAssembly, lengths: tuple[int, ...], bag: tuple[int, ...]
) -> Iterator[Reconstruction]:
    """Solve the shortest sentences first: they have the fewest wrong combinations."""
    suffix, batch = observation.model.vocabulary.suffix, observation.knowledge.batch or len(lengths)
    wanted = sorted(observation.knowledge.lengths) if observation.knowledge.lengths else _spread(sorted(lengths), batch)
    solved: list[tuple[int, ...]] = []
    guesses: dict[int, tuple[tuple[int, ...], float]] = {}
    for start in range(STARTS):
        open_slots = [i for i in range(len(wanted)) if guesses.get(i, ((), 1.0))[1] > assembly.inside]
        if not open_slots:
            break
        if start == STARTS // 2:
            assembly.used.clear()  # two sentences may share a word at a position
        for slot in open_slots:
            best, value = guesses.get(slot, ((), float("inf")))
            for sentence, score in assembly.descend(wanted[slot], suffix):
                tokens = tuple(sentence.tolist())
                if score < value and tokens not in solved:
                    best, value = tokens, score
            guesses[slot] = (best, value)
            if best and value < assembly.inside and assembly.complete(torch.tensor(best)):
                solved.append(best)
                assembly.use(torch.tensor(best))
            ordered = sorted((v, t) for t, v in guesses.values() if t)
            yield Reconstruction(
                tokens=tuple(t for _, t in ordered),
                bag=bag,
                loss=sum(v for v, _ in ordered) / len(wanted) + (len(wanted) - len(ordered)),
                note=f"{len(solved)} of {len(wanted)} sentences proved by the second span",
                done=len(solved) == len(wanted),
            )


def _spread(lengths: list[int], batch: int) -> list[int]:
    """Return one length per sentence; when ends coincide the last ones are repeated."""
    return (lengths + lengths[-1:] * batch)[:batch] if lengths else []
