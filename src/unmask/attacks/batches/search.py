"""Find the sentences of a batch one after another: guess, prove, take out of the gradient."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.batches.assembly import BatchAssembly
from unmask.attacks.batches.flows import flows
from unmask.attacks.batches.keys import KeySearch, key_search
from unmask.attacks.batches.membership import JOINED, Memberships, memberships
from unmask.attacks.batches.remainder import Remainder
from unmask.attacks.batches.words import Words, read_words
from unmask.attacks.rehearsal import Rehearsal
from unmask.observation import Observation
from unmask.public import Component, Place

ANCHORS = 16
"""Words whose sentences are sought at a time."""
LENGTHS = 3
"""Sentence lengths tried for a word, likeliest first."""
GLANCES = 5
"""Steps of a solve at every length, after which the lengths that leave least go on."""
ALIKE = 0.7
"""Share of equal positions above which a start is taken to lead where an earlier one ended."""
CHOICES = (4, 24)
"""Words tried at each position when the second span decides: first the likeliest, then nearly all."""
HELD = 4
"""Guesses of each length that are kept."""
STARTS = 30
"""Random starts per sentence."""


@dataclass(kw_only=True, eq=False)
class BatchSearch:
    """Find, prove and take out one sentence after another.

    Args:
        observation: what was seen.
        first: a weight of the first layer.
        later: a weight of a later layer, whose span proves.
        rehearsals: what gradients carry, by place name.
        generator: source of the random starts.
    """

    observation: Observation
    first: Place
    later: Place
    rehearsals: dict[str, Rehearsal]
    generator: torch.Generator
    solved: list[tuple[int, ...]] = field(default_factory=list, init=False)
    guesses: dict[int, list[tuple[float, tuple[int, ...]]]] = field(default_factory=dict, init=False)
    improved: set[tuple[tuple[int, ...], int]] = field(default_factory=set, init=False)
    tried: set[int] = field(default_factory=set, init=False)
    lengths: tuple[int, ...] = field(default=(), init=False)
    words: Words = field(init=False)
    keys: KeySearch | None = field(default=None, init=False)
    members: Memberships | None = field(default=None, init=False)
    assembly: BatchAssembly = field(init=False)
    limit: float = field(default=0.0, init=False)

    def run(self) -> Iterator[Reconstruction]:
        """Yield guesses of all sentences until all are proved or a round proves none."""
        remainder = Remainder.of(self.observation, [self.first, self.later])
        while True:
            self._look(remainder)
            before = len(self.solved)
            for _ in self._round():
                yield self._guess(done=False)
            if len(self.solved) == before or self._missing() == 0:
                break
            for tokens in self.solved[before:]:
                remainder = remainder.without(tokens)
        yield self._guess(done=True)

    def _missing(self) -> int:
        wanted = self.observation.knowledge.batch or len(self.observation.knowledge.lengths or self.lengths)
        return max(0, wanted - len(self.solved))

    def _look(self, remainder: Remainder) -> None:
        """Read words, flows and keys of what is left, and judge the guesses that are left by its span."""
        knowledge = self.observation.knowledge
        used = Counter(map(len, self.solved))
        known = tuple((Counter(knowledge.lengths or ()) - used).elements())
        self.words = read_words(remainder, self.first, self.rehearsals[self.first.name], known)
        self.lengths = tuple(sorted(known or self.words.ends))
        model, later = self.observation.model, self.rehearsals[self.later.name]
        self.assembly = BatchAssembly(
            model=model,
            place=self.later,
            space=remainder.space(self.later),
            options=self.words.options(),
            differences=later.differences,
            inside=later.inside,
            generator=self.generator,
        )
        self.limit = self.assembly.limit(max(self.lengths, default=8), STARTS * max(1, len(self.lengths)))
        table = model.input_table(self.first)
        self.keys = self.members = None
        if table is not None and table.position is not None and self.first.component is Component.QUERY:
            found = flows(table, remainder.tensors[self.first.name], self.words.ids, self.words.positions)
            if found is not None:
                kept = found.pruned()
                self.keys = key_search(model, self.first, table, kept)
                if not later.differences:
                    self.members = memberships(model, self.first, self.later, table, self.assembly.space, kept)
        held, self.guesses, self.improved = self.guesses, {}, set()
        for length in set(self.lengths):
            for _, tokens in held.get(length, []):
                self._judge(tokens)

    def _judge(self, tokens: tuple[int, ...]) -> None:
        """Prove a guess, or keep it with its mean distance."""
        if tokens in self.solved or any(tokens == t for _, t in self.guesses.get(len(tokens), [])):
            return
        distances = self.assembly.distances(torch.tensor([tokens]))
        # A sentence that occurs twice is still in the span after its first copy was taken out.
        if float(distances.max()) < self.limit and len(tokens) in self.lengths:
            self._prove(tokens)
        else:
            held = self.guesses.setdefault(len(tokens), [])
            held.append((float(distances.mean()), tokens))
            held.sort()
            del held[HELD:]

    def _prove(self, tokens: tuple[int, ...]) -> None:
        self.solved.append(tokens)
        if self.observation.knowledge.lengths is not None:
            self.lengths = tuple((Counter(self.lengths) - Counter([len(tokens)])).elements())
        self.assembly.use(torch.tensor(tokens))

    def _round(self) -> Iterator[None]:
        """Propose sentences until one is proved: from keys, and by the second span from the best of them."""
        before = len(self.solved)
        if self.members is not None:
            yield from self._solve(self.members)
            for length in sorted(set(self.lengths)):
                if len(self.solved) == before and self.keys is not None:
                    yield from self._descend(self.keys, length, CHOICES[0])
            if len(self.solved) > before:
                return
        if self.keys is None:
            for length in sorted(set(self.lengths)):
                yield from self._start(length)
            return
        grown: list[Tensor] = []
        for anchors in self.keys.anchors().split(ANCHORS):
            yield from self._grow(self.keys, anchors, grown)
            for count in CHOICES:
                for length in sorted(self._eligible(self.keys), key=lambda n: self.guesses.get(n, [])[:1]):
                    if len(self.solved) > before:
                        return
                    yield from self._descend(self.keys, length, count)

    def _solve(self, members: Memberships) -> Iterator[None]:
        """Solve for the company of every word of sure position that no proved sentence holds."""
        self.tried = set()
        for anchor in members.anchors().tolist():
            position, token = int(members.positions[anchor]), int(members.ids[anchor])
            used = self.assembly.used.get((position, token), 0) or anchor in self.tried
            if self._missing() and not used:
                yield from self._company(members, anchor, [n for n in set(self.lengths) if n > position + 1])

    def _company(self, members: Memberships, anchor: int, lengths: list[int]) -> Iterator[None]:
        """Solve for a word's sentence at every length for some steps, then at those that leave least."""
        before, read = len(self.solved), set()
        runs = {n: (chosen := members.allowed(n), members.steps(anchor, chosen)) for n in lengths}
        left, last = dict.fromkeys(runs, float("inf")), dict[int, Tensor]()
        for count in (GLANCES, None):
            for length in sorted(runs, key=left.__getitem__)[: None if count else LENGTHS]:
                chosen, steps = runs[length]
                for weights, residual in islice(steps, count):
                    left[length] = residual
                    found = members.read(weights, chosen, length)
                    tokens = () if found is None else tuple(members.ids[found].tolist())
                    if tokens and tokens not in read:
                        read.add(tokens)
                        self._judge(tokens)
                    yield
                    if len(self.solved) > before:
                        return
                    last[length] = chosen[weights > JOINED]
        # Words that came out as its company would lead to where it led.
        self.tried.update(*(last[n].tolist() for n in sorted(last, key=left.__getitem__)[:1]))

    def _grow(self, keys: KeySearch, anchors: Tensor, grown: list[Tensor]) -> Iterator[None]:
        """Grow sentences from the flows of a few words."""
        for row, length, start in self._starts(keys, anchors):
            # Most words of a sentence lead to the same end, and none needs to be sought twice.
            if length not in self.lengths or any(_alike(start, end) for end in grown):
                continue
            found = keys.sentence(row, length)
            if found is not None:
                grown.append(found)
                self._judge(tuple(keys.ids[found].tolist()))
                yield

    def _starts(self, keys: KeySearch, anchors: Tensor) -> list[tuple[Tensor, int, Tensor]]:
        """Return weights, length and first reading of what to grow, what fits its words best first."""
        found = []
        for row in keys.affinity(anchors):
            for length in self._likeliest(keys, row)[:LENGTHS]:
                start = keys.read(row, keys.allowed(length), length)
                if start is not None:
                    found.append((keys.misfit(start) / length, row, length, start))
        found.sort(key=lambda f: f[0])
        return [(row, length, start) for _, row, length, start in found]

    def _likeliest(self, keys: KeySearch, weights: Tensor) -> list[int]:
        """Return the lengths that hold most of the weights."""
        return sorted(self._eligible(keys), key=lambda length: (-keys.fit(weights, length), length))

    def _eligible(self, keys: KeySearch) -> set[int]:
        """Return the lengths to try now: what flows cannot make certain waits until the rest is out of the way."""
        return {length for length in self.lengths if length <= keys.height} or set(self.lengths)

    def _descend(self, keys: KeySearch, length: int, count: int) -> Iterator[None]:
        """Improve the best guess of one length by the second span, once."""
        for _, start in self.guesses.get(length, [])[:1]:
            if (start, count) not in self.improved:
                self.improved.add((start, count))
                yield from self._follow(self._around(keys, start, count))

    def _start(self, length: int) -> Iterator[None]:
        """Improve random starts of one length by the second span."""
        before, suffix = len(self.solved), self.observation.model.vocabulary.suffix
        for _ in range(STARTS):
            yield from self._follow(self.assembly.random_start(length, suffix))
            if len(self.solved) > before:
                return

    def _follow(self, choices: tuple[Tensor, ...]) -> Iterator[None]:
        tokens: tuple[int, ...] = ()
        for sentence, _ in self.assembly.descend(choices):
            tokens = tuple(sentence.tolist())
            yield
        self._judge(tokens)
        yield

    def _around(self, keys: KeySearch, tokens: tuple[int, ...], count: int) -> tuple[Tensor, ...]:
        """Return so many words to try per position, those of a guess first."""
        inside, weights, choices = keys.allowed(len(tokens)), keys.support(tokens), []
        for i, token in enumerate(tokens):
            here = (inside & (keys.positions == i)).nonzero()[:, 0]
            ranked = keys.ids[here[weights[here].argsort(descending=True)]][:count].tolist()
            choices.append(torch.tensor([token, *[t for t in ranked if t != token]]))
        return tuple(choices)

    def _guess(self, *, done: bool) -> Reconstruction:
        """Return all sentences: the proved ones, then the best guesses of the others."""
        rest: list[tuple[float, tuple[int, ...]]] = []
        for length, count in Counter(self.lengths).items():
            rest += self.guesses.get(length, [])[:count]
        rest = sorted(rest)[: self._missing()]
        special = self.observation.model.vocabulary.special
        words = Counter(t for tokens in self.solved for t in tokens if t not in special)
        words |= Counter(dict.fromkeys(self.words.bag(special), 1))
        total = len(self.solved) + self._missing()
        missing = self._missing() + sum(v for v, _ in rest) + (self._missing() - len(rest))
        return Reconstruction(
            tokens=(*self.solved, *(tokens for _, tokens in rest)),
            bag=tuple(words.elements()),
            loss=missing / (2 * total),
            note=f"{len(self.solved)} of {total} sentences proved by the second span",
            done=done or self._missing() == 0,
        )


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two readings of equal length agree in most positions."""
    return len(one) == len(other) and float((one == other).double().mean()) > ALIKE
