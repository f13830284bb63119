"""What is seen of a private text that others may ask: answers read from its store of records, or text written on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from unmask.observation import ActivationKnowledge
from unmask.public import PublicModel
from unmask.site import Site

Codes = Callable[[Tensor], Tensor]
"""Keys (..., d) of records -> the factors (..., m) with which each enters the m rows that are seen."""


@dataclass(frozen=True, kw_only=True)
class StoreKnowledge:
    """The adversary's knowledge beside the rows read from a store, one record a token.

    Args:
        length: number of records, public.
        queries: (Q, d) the public queries; empty where a state is released instead of answers.
        scale: factor of the scores `q k`.
        codes: where each row is a sum over records, `sum_i code(k_i) (v_i, V)`, what a key contributes; else None.
        value_norm: V, to which values are clipped in such a sum, and its last column; 0 where it is none.
        deviation: of Gaussian noise on every entry that a mechanism added.
        mechanism: a sentence about the private mechanism behind what is seen; empty if there is none.
        released: how the rows were released on top: number format, noise, clip, prune.
    """

    length: int
    queries: Tensor
    scale: float
    codes: Codes | None = field(default=None)
    value_norm: float = field(default=0.0)
    deviation: float = field(default=0.0)
    mechanism: str = field(default="")
    released: ActivationKnowledge = field(default=ActivationKnowledge())

    @property
    def exact(self) -> bool:
        """Whether a replay of the true records must reproduce the rows to rounding."""
        return self.released.exact and not self.mechanism

    def sentences(self) -> tuple[str, ...]:
        """Return the threat model in words, one sentence per fact."""
        asked = f"It asks {len(self.queries)} public queries of one attention head over the records of a private text"
        return (
            "The adversary knows the weights and how inputs are encoded.",
            f"{asked}, one of {self.length} tokens." if len(self.queries) else f"A text of {self.length} tokens.",
            *([self.mechanism] if self.mechanism else []),
            self.released.sentences()[-1],
        )


@dataclass(frozen=True, kw_only=True)
class StoreReads:
    """Rows read from a private store plus public knowledge.

    Args:
        tensors: by site name, (Q, w) answers, or (m, w + 1) sums over records, the last column of the factors alone.
        site: the heads' output that the answers are, of one head in a first layer.
        model: the public model.
        knowledge: what else the adversary knows.
    """

    tensors: Mapping[str, Tensor]
    site: Site
    model: PublicModel
    knowledge: StoreKnowledge


@runtime_checkable
class Chances(Protocol):
    """How an answer is drawn, as everyone knows it."""

    def __call__(self, private: Tensor, public: Tensor) -> Tensor:
        """Return the distributions (T, V) that the tokens are drawn from.

        Args:
            private: (T, V) of the model that reads the span.
            public: (T, V) of the model that does not.
        """


@dataclass(frozen=True, kw_only=True)
class AnswerKnowledge:
    """The adversary's knowledge beside an answer.

    Args:
        before: token ids of the prompt before the marked span.
        after: token ids of the prompt after it.
        length: number of tokens of the span.
        chances: what the mechanism draws from; the model's own distributions without one.
        mechanism: a sentence about it; empty if there is none.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    length: int
    chances: Chances
    mechanism: str = field(default="")

    @property
    def exact(self) -> bool:
        """Whether a replay must reproduce what was seen: never, an answer is drawn."""
        return False

    def sentences(self) -> tuple[str, ...]:
        """Return the threat model in words, one sentence per fact."""
        return (
            "The adversary knows the weights, the tokenizer and the prompt around the marked span.",
            f"It sees one answer; the span has {self.length} tokens, which it knows as well.",
            *([self.mechanism] if self.mechanism else []),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer that a model wrote on a prompt with a private span, plus public knowledge.

    Args:
        tensors: `answer` to its token ids (T,).
        model: the public model, one of next tokens.
        knowledge: what else the adversary knows.
    """

    tensors: Mapping[str, Tensor]
    model: PublicModel
    knowledge: AnswerKnowledge
