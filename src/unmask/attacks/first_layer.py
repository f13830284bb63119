"""Read the words of a first layer from its span: one test per token and position."""

from collections.abc import Iterator

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.batch_assembly import BatchAssembly
from unmask.attacks.batch_mates import Mates, mates
from unmask.attacks.layout import allowed_tokens
from unmask.attacks.rehearsal import Rehearsal, rehearse
from unmask.attacks.spans import visible_space
from unmask.attacks.threshold import between
from unmask.attacks.vocabulary_test import vocabulary_distances
from unmask.observation import Observation
from unmask.public import Place
from unmask.rng import generator as named
from unmask.subspace import Subspace

STARTS = 60
MATES = 6


def position_distances(
    observation: Observation, place: Place, space: Subspace, positions: int, *, differences: bool
) -> Tensor:
    """Return the span distance (V, positions) of every token at every position.

    Args:
        observation: what was seen.
        place: whose input has a closed form.
        space: its row space.
        positions: number of positions to test.
        differences: whether the span holds differences to the first position only.

    Raises:
        ValueError: if the input has no closed form.
    """
    model = observation.model
    table = model.input_table(place)
    if table is None:
        raise ValueError(f"place {place.name} has no closed form: its input mixes positions; choose a first layer's")
    reference = None
    if differences:
        first = model.vocabulary.prefix[0] if model.vocabulary.prefix else 0
        reference = table.rows(torch.tensor(first), torch.tensor(0))
    return vocabulary_distances(table, space, positions, reference=reference)


def read_sentence(observation: Observation, place: Place, rehearsed: Rehearsal) -> Iterator[Reconstruction]:
    """Yield the one sentence whose every token lies in the first layer's span at its position.

    Args:
        observation: what was seen.
        place: a visible weight of the first layer.
        rehearsed: what its gradient carries.
    """
    knowledge, vocabulary = observation.knowledge, observation.model.vocabulary
    space = visible_space(observation, place)
    if space.rank == 0:
        note = "the gradient is zero, or no larger than its noise"
        yield Reconstruction(tokens=(), loss=float("inf"), note=note, absent=True, done=True)
        return
    known = len(vocabulary.prefix) + len(vocabulary.suffix)
    length = min(max(space.rank + rehearsed.missing, known), observation.model.max_length)
    length = knowledge.lengths[0] if knowledge.lengths else length
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
    """Yield the sentences of a batch: words from a first layer's span, their grouping from a later one's.

    Args:
        observation: what was seen.
        places: visible weights of the layers.
        generator: source of the random starts.
        seed: seed of the rehearsals.
    """
    model = observation.model
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
    if not later or not (lengths or observation.knowledge.lengths):
        why = "a second layer would tell their order" if not later else "no sentence's end lies in the first span"
        yield Reconstruction(tokens=(), bag=bag, loss=1.0, note=f"words only: {why}", done=True)
        return
    place = min(later, key=lambda p: (rehearsals[p.name].differences, p.layer or 0))
    found = _mates(observation, tables[0], options)
    if found is not None:
        options = found.options(len(options))
    assembly = BatchAssembly(
        model=model,
        place=place,
        space=visible_space(observation, place),
        options=options,
        differences=rehearsals[place.name].differences,
        inside=rehearsals[place.name].inside,
        generator=generator,
    )
    yield from _assemble(observation, assembly, lengths, bag, found)


def words(observation: Observation, place: Place, rehearsed: Rehearsal) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Return the tokens that a first layer allows at each position, and the sentence lengths they end at.

    Args:
        observation: what was seen.
        place: a visible weight of the first layer.
        rehearsed: what its gradient carries.
    """
    knowledge, model = observation.knowledge, observation.model
    space = visible_space(observation, place)
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


def _mates(observation: Observation, place: Place, options: tuple[Tensor, ...]) -> Mates | None:
    words = torch.cat([*options, torch.tensor(observation.model.vocabulary.suffix, dtype=torch.long)]).unique()
    return mates(observation.model, place, observation.tensors[place.name], words, len(options))


def _assemble(
    observation: Observation,
    assembly: BatchAssembly,
    lengths: tuple[int, ...],
    bag: tuple[int, ...],
    found: Mates | None,
) -> Iterator[Reconstruction]:
    """Solve the shortest sentences first: they have the fewest wrong combinations."""
    suffix, batch = observation.model.vocabulary.suffix, observation.knowledge.batch or len(lengths)
    wanted = sorted(observation.knowledge.lengths) if observation.knowledge.lengths else _spread(sorted(lengths), batch)
    limit = assembly.limit(max(wanted), STARTS * len(wanted))
    solved: list[tuple[int, ...]] = []
    guesses: dict[int, tuple[tuple[int, ...], float]] = {}
    for start in range(STARTS):
        open_slots = [i for i in range(len(wanted)) if guesses.get(i, ((), 1.0))[1] > limit]
        if not open_slots:
            break
        if start == STARTS // 2:
            assembly.used.clear()  # two sentences may share a word at a position
        for slot in open_slots:
            best, value = guesses.get(slot, ((), float("inf")))
            for sentence, score in assembly.descend(_start(assembly, found, wanted[slot], suffix, start)):
                tokens = tuple(sentence.tolist())
                if score < value and tokens not in solved:
                    best, value = tokens, score
            guesses[slot] = (best, value)
            if best and value < limit and assembly.farthest(torch.tensor([best])).item() < limit:
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


def _start(
    assembly: BatchAssembly, found: Mates | None, length: int, suffix: tuple[int, ...], start: int
) -> tuple[Tensor, ...]:
    """Return the tokens to try per position: an open anchor's mates where they are known, else random ones."""
    if found is None or start >= 2 * STARTS // 3:
        return assembly.random_start(length, suffix)
    pairs = zip(found.tokens[: found.anchors].tolist(), found.positions[: found.anchors].tolist(), strict=True)
    ends = (found.tokens == (suffix[-1] if suffix else -1)) & (found.positions == length - 1)
    fit = found.affinity[:, ends].sum(1) if bool(ends.any()) else torch.zeros(found.anchors)
    left = [k for k, (token, i) in enumerate(pairs) if i < length - len(suffix) and not assembly.used.get((i, token))]
    left.sort(key=lambda k: -float(fit[k]))
    if not left:
        return assembly.random_start(length, suffix)
    ranked = found.ranked(left[start % len(left)], length, MATES)
    if any(len(tokens) == 0 for tokens in ranked):
        return assembly.random_start(length, suffix)
    return (*ranked[: length - len(suffix)], *(torch.tensor([token]) for token in suffix))


def _spread(lengths: list[int], batch: int) -> list[int]:
    """Return one length per sentence; when ends coincide the last ones are repeated."""
    return (lengths + lengths[-1:] * batch)[:batch] if lengths else []
