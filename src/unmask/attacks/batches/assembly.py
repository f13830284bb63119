"""Assemble the sentences of a batch: words per position from one span, word order from another."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.threshold import between
from unmask.public import Place, PublicModel
from unmask.subspace import Subspace, span_distance

AT_ONCE = 128
GAIN = 1e-9
NULL = 256


@dataclass(kw_only=True, eq=False)
class BatchAssembly:
    """Coordinate descent over the words that a first layer allows at each position.

    A later layer's input depends on the whole sentence, so all inputs of a true sentence lie in
    the later span and those of a mixed one do not. The mean distance falls with every right word.

    Args:
        model: the public model.
        place: place of the later span.
        space: its row space.
        options: for each position the tokens that the first layer allows there.
        differences: whether the span holds differences to each sentence's first position only.
        inside: distances of true inputs in a rehearsal, for the threshold.
        generator: source of the random starts.
    """

    model: PublicModel
    place: Place
    space: Subspace
    options: tuple[Tensor, ...]
    differences: bool
    inside: Tensor
    generator: torch.Generator
    used: dict[tuple[int, int], int] = field(default_factory=dict, init=False)

    def distances(self, sentences: Tensor) -> Tensor:
        """Return the distance (C, m) of every input of sentences (C, n) from the span; m = n - 1 for differences."""
        parts = [self.model.inputs(part, [self.place])[self.place.name] for part in sentences.split(AT_ONCE)]
        inputs = torch.cat(parts)
        return span_distance(inputs[:, 1:] - inputs[:, :1] if self.differences else inputs, self.space)

    def farthest(self, sentences: Tensor) -> Tensor:
        """Return the largest distance (C,) over the inputs of each of sentences (C, n): small for true ones alone."""
        return self.distances(sentences).amax(1)

    def limit(self, length: int, starts: int) -> float:
        """Return the largest distance below which a sentence counts as true.

        The null distribution is that of random mixtures of the words of all positions, which are
        about as near to the span as a false sentence can be.

        Args:
            length: tokens of the mixtures.
            starts: number of random starts, each of which tries every word at every position.
        """
        words = torch.cat(self.options)
        mixtures = words[torch.randint(len(words), (NULL, length), generator=self.generator)]
        return between(self.inside, self.farthest(mixtures), starts * len(words) * length)

    def random_start(self, length: int, suffix: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Return the allowed tokens per position in random order, for a sentence that ends with `suffix`.

        Args:
            length: number of tokens, those of the suffix included.
            suffix: tokens that the sentence ends with.
        """
        choices = [self._choices(i) for i in range(length - len(suffix))]
        shuffled = [c[torch.randperm(len(c), generator=self.generator)] for c in choices]
        return (*shuffled, *(torch.tensor([token]) for token in suffix))

    def descend(self, choices: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, float]]:
        """Yield ever better sentences with their mean distance.

        Args:
            choices: for each position the tokens to try; the first of each makes the start.
        """
        current = torch.stack([c[0] for c in choices])
        value = self.distances(current[None]).mean().item()
        yield current, value
        while True:
            changed = [
                torch.cat([current[:i], token[None], current[i + 1 :]])
                for i, tokens in enumerate(choices)
                for token in tokens
                if token != current[i]
            ]
            if not changed:
                return
            trials = torch.stack(changed)
            scores = self.distances(trials).mean(1)
            found, best = self._joined(current, trials, scores)
            if best > value - GAIN:
                return
            current, value = found, best
            yield current, value

    def _joined(self, current: Tensor, trials: Tensor, scores: Tensor) -> tuple[Tensor, float]:
        """Join the best changes at different positions one by one and keep the best join."""
        order = scores.argsort()[:24]
        joined, joins = current.clone(), []
        touched = torch.zeros(len(current), dtype=torch.bool)
        for k in order.tolist():
            change = trials[k] != current
            if not bool((change & touched).any()):
                joined = torch.where(change, trials[k], joined)
                touched |= change
                joins.append(joined)
        values = self.distances(torch.stack(joins)).mean(1)
        k = int(values.argmin())
        return joins[k], values[k].item()

    def _choices(self, position: int) -> Tensor:
        """Return a position's tokens without those that a finished sentence has used up."""
        options = self.options[position]
        left = [int(t) for t in options if self.used.get((position, int(t)), 0) == 0]
        return torch.tensor(left, dtype=torch.long) if left else options

    def use(self, sentence: Tensor) -> None:
        """Take a finished sentence's words out of the options of later starts."""
        for position, token in enumerate(sentence.tolist()):
            self.used[position, token] = self.used.get((position, token), 0) + 1
