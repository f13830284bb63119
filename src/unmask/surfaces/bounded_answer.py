"""An answer whose every token leans on the marked span only so far."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from unmask.privacy.mechanisms.bounded_decoding import BoundedDecoding
from unmask.shared import Answer, AnswerKnowledge
from unmask.surfaces.answer import ANSWER, AnswerSurface, following, prompted
from unmask.surfaces.behind import Behind
from unmask.surfaces.private import seeded
from unmask.victim import Victim

COARSE = 12
"""Halvings of each weight where many guesses are judged: their chances err by one part in 4,000 at most."""


@dataclass(frozen=True, kw_only=True)
class BoundedAnswerSurface(Behind):
    """An answer by bounded decoding: each token from the mixture of the model with the span and the one without.

    Args:
        base: the prompt and T.
        epsilon: of the whole answer.
        delta: of the whole answer.
        replace_span: whether the span may be exchanged for any other; else only removed.

    Raises:
        BadInput: if a value is out of range.
    """

    name: ClassVar[str] = "bounded-answer"
    base: AnswerSurface = field(default=AnswerSurface())
    epsilon: float = field(default=1.0)
    delta: float = field(default=1e-5)
    replace_span: bool = field(default=True)

    def __post_init__(self) -> None:
        _ = self.mechanism  # checks the numbers

    @property
    def mechanism(self) -> BoundedDecoding:
        """The mechanism for answers of the base's length."""
        return BoundedDecoding(
            epsilon=self.epsilon, delta=self.delta, tokens=self.base.tokens, replace=self.replace_span
        )

    def observe(self, victim: Victim, generator: torch.Generator) -> Answer:
        """Return the answer's token ids (T,).

        Args:
            victim: whose text is the span.
            generator: of the draws, which are therefore void.

        Raises:
            BadInput: as the base surface.
        """
        full, redacted = prompted(self.base, victim)
        model, mechanism = victim.model, self.mechanism
        text = mechanism.release(
            lambda so_far: (following(model, full, so_far, 1)[0], following(model, redacted, so_far, 1)[0]),
            seeded(generator),
        ).value

        def chances(private: Tensor, public: Tensor) -> Tensor:
            return torch.from_numpy(mechanism.mixtures(private.numpy(), public.numpy(), steps=COARSE))

        knowledge = AnswerKnowledge(
            before=self.base.before,
            after=self.base.after,
            length=len(full) - len(redacted),
            chances=chances,
            mechanism=f"Each token is drawn from a mixture whose divergence from the model without the span is at most "
            f"{mechanism.bound:.3g} nats, of order {mechanism.enforced:.4g}.",
        )
        return Answer(tensors={ANSWER: torch.tensor(text)}, model=model, knowledge=knowledge)

    def rounding(self, victim: Victim) -> float:
        """Return zero: an answer is drawn, and no replay certifies a guess.

        Args:
            victim: not used.
        """
        return 0.0
