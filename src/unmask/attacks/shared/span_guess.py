"""Guess a marked span from an answer: what the answer repeats, then the tokens that make it likelier."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.errors import BadInput
from unmask.public import PublicModel
from unmask.shared import Answer, AnswerKnowledge

AT_ONCE = 16
"""Guesses in one forward pass, between two places to stop."""


@dataclass(frozen=True, kw_only=True)
class SpanGuess:
    """The span under which the mechanism itself makes the answer likeliest, among those that the answer suggests.

    First every stretch of the answer that is as long as the span; then, place by place, tokens of the answer and
    those that the model would expect there. Each is judged by `sum_t ln m_t(a_t)`, where m is the distribution that the
    mechanism draws from, its mixture included: by Neyman and Pearson no other statistic tells two spans apart better.

    Args:
        name: registered name.
        source: publication.
        expected: tokens that the model expects, tried at each place.
        sweeps: at most so many turns over all places.

    Raises:
        BadInput: if a setting is below 1.

    Source:
        The likelihood attack on marked spans of DP-Fusion (Thareja et al. 2025), with a search in place of a list.
    """

    name: str = field(default="span-guess")
    source: str = field(default="after Thareja et al. 2025, and this project")
    expected: int = field(default=8)
    sweeps: int = field(default=3)

    def __post_init__(self) -> None:
        for setting in ("expected", "sweeps"):
            if getattr(self, setting) < 1:
                raise BadInput(f"setting {setting}", getattr(self, setting), "is below 1", "give at least 1")

    def run(self, observation: Answer, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield the likeliest stretch of the answer, and a likelier span after every place that was tried.

        Args:
            observation: what was seen.
            generator: not used: nothing here is left to chance.
        """
        model, known = observation.model, observation.knowledge
        answer = tuple(observation.tensors["answer"].tolist())
        judge = _Judge(model, known, answer)
        best: tuple[int, ...] = ()
        loss = math.inf
        for some in _parts(_stretches(answer, known.length, model.vocabulary.special)):
            best, loss = min((loss, best), judge.best(some))[::-1]
            yield judge.said(best, loss, "a stretch of the answer")
        for sweep in range(self.sweeps):
            before = best
            for place in range(known.length):
                there = {*answer, *judge.expected(best[:place], self.expected)} - model.vocabulary.special
                for some in _parts([(*best[:place], i, *best[place + 1 :]) for i in sorted(there)]):
                    best, loss = min((loss, best), judge.best(some))[::-1]
                    yield judge.said(best, loss, f"{sweep + 1} sweeps")
            if best == before:
                break


def _parts(spans: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    return [spans[start : start + AT_ONCE] for start in range(0, len(spans), AT_ONCE)]


def _stretches(answer: tuple[int, ...], length: int, special: frozenset[int]) -> list[tuple[int, ...]]:
    """Return every stretch of this length, the answer read in a circle where it is too short."""
    kept = tuple(i for i in answer if i not in special) or answer
    around = kept * (1 + -(-length // len(kept)))
    return list(dict.fromkeys(around[start : start + length] for start in range(len(kept))))


class _Judge:
    """Likelihoods of one answer.

    Args:
        model: predicts next tokens.
        known: the prompt and the mechanism.
        answer: token ids.
    """

    def __init__(self, model: PublicModel, known: AnswerKnowledge, answer: tuple[int, ...]) -> None:
        self.model, self.known, self.answer = model, known, answer
        self.public = self._following([(*known.before, *known.after)])[0]
        self.blind = self._loss(self.public)

    def best(self, spans: list[tuple[int, ...]]) -> tuple[float, tuple[int, ...]]:
        """Return minus the mean logarithm of the answer's chances under the likeliest of some spans, and that span."""
        known = self.known
        following = self._following([(*known.before, *span, *known.after) for span in spans])
        losses = [self._loss(known.chances(private, self.public)) for private in following]
        return min(zip(losses, spans, strict=True))

    def expected(self, span: tuple[int, ...], count: int) -> list[int]:
        """Return the tokens that the model expects most after the beginning of a span."""
        so_far = (*self.known.before, *span)
        logits = self.model.next_token_logits(torch.tensor([so_far])) if so_far else None
        return [] if logits is None else [int(i) for i in logits[0].topk(min(count, logits.shape[1])).indices]

    def said(self, span: tuple[int, ...], loss: float, note: str) -> Reconstruction:
        """Return a span as a guess, with the tokens that the tokenizer puts around a text."""
        vocabulary = self.model.vocabulary
        gain = f"{(self.blind - loss):.2f} nats a token likelier than without a span"
        return Reconstruction(
            tokens=((*vocabulary.prefix, *span, *vocabulary.suffix),), loss=loss, note=f"{note}, {gain}"
        )

    def _following(self, prompts: list[tuple[int, ...]]) -> Tensor:
        """Return the distributions (C, T, V) of the answer's tokens after prompts of one length."""
        rows = torch.tensor([(*prompt, *self.answer[:-1]) for prompt in prompts])
        logits = self.model.following_logits(rows, len(self.answer))
        assert logits is not None  # an answer comes from a model of next tokens
        return logits.double().softmax(-1)

    def _loss(self, chances: Tensor) -> float:
        own = chances[torch.arange(len(self.answer)), torch.tensor(self.answer)]
        return -float(own.clamp_min(1e-300).log().mean())
