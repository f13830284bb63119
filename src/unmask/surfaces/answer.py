"""A text that a causal model writes on a prompt with a private, marked span."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.errors import BadInput
from unmask.privacy.checks import at_least_one
from unmask.privacy.sampling import Randomness
from unmask.public import PublicModel
from unmask.shared import Answer, AnswerKnowledge
from unmask.surface import Release
from unmask.surfaces.private import one_text, seeded
from unmask.victim import Victim

ANSWER = "answer"
PROMPT = 'Note: "{}"\nThe same note once more: "'
"""The public prompt, which asks for the worst: that the span be said again."""


@dataclass(frozen=True, kw_only=True)
class AnswerSurface:
    """An answer of T tokens, drawn from a model of next tokens that reads `before`, the private span and `after`.

    The adversary knows the prompt around the span and how many tokens the span has. Whoever asks a model about
    somebody else's text sees this.

    Args:
        prompt: the public text around the span, which stands for `{}`.
        before: token ids of the prompt before the span; made from `prompt` where the model is known.
        after: token ids after it.
        tokens: T.
        release: of answers only the exact one.

    Raises:
        BadInput: if the prompt has no place for the span, there is no token, or the release is not exact.
    """

    name: ClassVar[str] = "answer"
    prompt: str = field(default=PROMPT)
    before: tuple[int, ...] = field(default=())
    after: tuple[int, ...] = field(default=())
    tokens: int = field(default=24)
    release: Release = field(default=Release())

    def __post_init__(self) -> None:
        at_least_one("--answer-tokens", self.tokens)
        if self.prompt.count("{}") != 1:
            raise BadInput("--prompt", self.prompt, "does not say where the span stands", "write {} once")
        if self.release != Release():
            raise BadInput("--noise", "given", "means nothing for tokens", "use --defence bounded-decoding")

    @property
    def select(self) -> str:
        """What is seen."""
        return ANSWER

    def encoded(self, encode: Callable[[str], tuple[int, ...]], special: frozenset[int]) -> "AnswerSurface":
        """Return the same surface with the prompt as token ids.

        Args:
            encode: text to ids.
            special: ids that it puts around a text, of which only those at the very front are kept.
        """
        first, last = self.prompt.split("{}")
        front, back = tuple(map(int, encode(first))) if first else (), tuple(map(int, encode(last))) if last else ()
        lead = next((k for k, i in enumerate(front) if i not in special), len(front))
        before = front[:lead] + tuple(i for i in front if i not in special)
        return replace(self, before=before, after=tuple(i for i in back if i not in special))

    def with_release(self, release: Release) -> "AnswerSurface":
        """Return the same surface with another release.

        Args:
            release: only the exact one.

        Raises:
            BadInput: if it is another.
        """
        return replace(self, release=release)

    def observe(self, victim: Victim, generator: torch.Generator) -> Answer:
        """Return the answer's token ids (T,).

        Args:
            victim: whose text is the span.
            generator: of the draws.

        Raises:
            BadInput: if the model does not predict next tokens, or there is not exactly one text.
        """
        randomness, model = seeded(generator), victim.model
        prompts = prompted(self, victim)
        text: tuple[int, ...] = ()
        while len(text) < self.tokens:
            text = (*text, drawn(following(model, prompts[0], text, 1)[0], randomness))
        knowledge = AnswerKnowledge(
            before=self.before,
            after=self.after,
            length=len(prompts[0]) - len(prompts[1]),
            chances=lambda private, public: private,
        )
        return Answer(tensors={ANSWER: torch.tensor(text)}, model=model, knowledge=knowledge)

    def rounding(self, victim: Victim) -> float:
        """Return zero: an answer is drawn, and no replay certifies a guess.

        Args:
            victim: not used.
        """
        return 0.0


def prompted(surface: AnswerSurface, victim: Victim) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the prompt with the span and without it.

    Args:
        surface: what stands around the span.
        victim: whose text is the span.

    Raises:
        BadInput: if there is not exactly one text, it does not fit, or nothing stands around it.
    """
    secret, model = one_text(victim), victim.model
    if model.classes is not None:
        rule = "is no model of next tokens, so that it writes no answer"
        raise BadInput("--model", model.name, rule, "give a causal language model, --task causal-lm")
    special = model.vocabulary.special
    span = tuple(i for i in secret.sequences[0] if i not in special)
    public = (*surface.before, *surface.after)
    if not public:
        raise BadInput("before", (), "and after are empty, so that nothing is read without the span", "give a prompt")
    total = len(public) + len(span) + surface.tokens
    if total > model.max_length:
        rule = f"needs {total} tokens where the model takes {model.max_length}"
        raise BadInput("--answer-tokens", surface.tokens, rule, "give fewer, or shorter texts")
    return (*surface.before, *span, *surface.after), public


def following(model: PublicModel, prompt: tuple[int, ...], text: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Return the distributions (count, V) of the last `count` next tokens after a prompt and the text so far.

    Args:
        model: predicts next tokens.
        prompt: token ids.
        text: token ids after it.
        count: how many.
    """
    logits = model.following_logits(torch.tensor([prompt + text]), count)
    assert logits is not None  # checked where the prompt was made
    return logits[0].double().softmax(-1).numpy()


def drawn(chances: NDArray[np.float64], randomness: Randomness) -> int:
    """Return an index drawn from a distribution (V,).

    Args:
        chances: not negative.
        randomness: source of the draw.
    """
    total = np.cumsum(chances)
    return int(np.searchsorted(total, float(randomness.uniform((1,))[0]) * total[-1], side="right"))
