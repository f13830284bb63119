"""What an adversary has seen, and what it knew before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from unmask.public import Kind, Place, PublicModel
from unmask.site import Site


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """The adversary's knowledge beside the tensors: the threat model, field by field.

    Args:
        batch: number of sequences that were averaged, or None if unknown.
        labels: the targets of the loss, or None if unknown. Class indices, one per sequence.
        lengths: number of tokens of each sequence, special tokens included, or None if unknown.
        padded: length to which sequences were filled, or None if they were not or it is unknown.
        dropout: whether the victim computed with dropout on.
        local_steps: number of optimiser steps whose sum was seen (1 = a plain gradient).
        learning_rate: step size of those steps.
        dtype: the number format in which the tensors were released.
        noise: norm of the added Gaussian noise divided by the norm of the whole release.
        clip: norm to which the whole release was clipped, or None.
        prune: share of smallest entries set to zero.
        sequence_clip: norm to which each sequence's whole gradient was clipped, or None.
        deviation: deviation of Gaussian noise on every entry, drawn before any other noise; 0 if there was none.
    """

    batch: int | None = 1
    labels: tuple[int, ...] | None = None
    lengths: tuple[int, ...] | None = None
    padded: int | None = None
    dropout: bool = False
    local_steps: int = 1
    learning_rate: float | None = None
    dtype: str = "float32"
    noise: float = 0.0
    clip: float | None = None
    prune: float = 0.0
    sequence_clip: float | None = None
    deviation: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether a replay of the true input must reproduce the tensors to rounding."""
        untouched = self.dtype == "float32" and self.noise == 0 and self.prune == 0
        untouched = untouched and self.sequence_clip is None and self.deviation == 0
        return untouched and not self.dropout and self.local_steps == 1

    def sentences(self) -> tuple[str, ...]:
        """Return the threat model in words, one sentence per fact."""
        seen = "one gradient" if self.local_steps == 1 else f"the weight change of {self.local_steps} local steps"
        rate = "" if self.learning_rate is None else f" (learning rate {self.learning_rate:g}, known)"
        count = "an unknown number of" if self.batch is None else self.batch
        return (
            "The adversary knows the weights, the tokenizer and the loss.",
            f"It sees {seen}{rate} over {count} sequence{'' if self.batch == 1 else 's'}.",
            f"Labels are {'unknown' if self.labels is None else 'known'}.",
            f"Lengths are {'unknown' if self.lengths is None else 'known'}.",
            f"Dropout was {'on; its masks are unknown' if self.dropout else 'off'}.",
            *self._private_step(),
            _released(self),
        )

    def _private_step(self) -> tuple[str, ...]:
        if self.sequence_clip is None:
            return ()
        return (
            f"Each sequence's gradient was clipped to norm {self.sequence_clip:g}, and every entry of their mean "
            f"carries Gaussian noise of deviation {self.deviation:g}.",
        )


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The tensors seen plus public knowledge. It has no path back to the secret.

    Args:
        tensors: gradient by place name, weights as (d_out, d_in), float32.
        model: the public model.
        knowledge: what else the adversary knows.
    """

    tensors: Mapping[str, Tensor]
    model: PublicModel
    knowledge: Knowledge

    @property
    def places(self) -> tuple[Place, ...]:
        """The places of the tensors, in the model's order."""
        return tuple(place for place in self.model.places if place.name in self.tensors)

    def places_of(self, kind: Kind) -> tuple[Place, ...]:
        """The places of one kind, in the model's order."""
        return tuple(place for place in self.places if place.kind is kind)


@dataclass(frozen=True, kw_only=True)
class ActivationKnowledge:
    """The adversary's knowledge beside activations of one forward pass.

    Args:
        dtype: the number format in which the tensors were released: float32, float16, bfloat16 or int8.
        noise: norm of the added Gaussian noise divided by the norm of the whole release.
        clip: norm to which the whole release was clipped, or None.
        prune: share of smallest entries set to zero.
        permuted: whether the rows (tokens) come in an unknown order, the same at every site.
        kept: positions of the rows that were seen, or None for all of them, or if they are unknown.
        length: number of tokens of the input, or None if rows are missing and neither which nor how many is known.
        mechanism: a sentence about the private mechanism behind what is seen; empty if there is none.
        spread: by site name, the squared relative error that the mechanism brings in on public texts.
        examples: number of public inputs of the same kind that the adversary holds.
    """

    dtype: str = field(default="float32")
    noise: float = field(default=0.0)
    clip: float | None = field(default=None)
    prune: float = field(default=0.0)
    permuted: bool = field(default=False)
    kept: tuple[int, ...] | None = field(default=None)
    length: int | None = field(default=None)
    mechanism: str = field(default="")
    spread: Mapping[str, float] = field(default_factory=dict)
    examples: int = field(default=0)

    @property
    def exact(self) -> bool:
        """Whether a replay of the true input must reproduce the tensors to rounding."""
        untouched = self.dtype == "float32" and self.noise == 0 and self.prune == 0 and self.clip is None
        return untouched and not self.mechanism

    def sentences(self) -> tuple[str, ...]:
        """Return the threat model in words, one sentence per fact."""
        rows = "all rows in their order"
        if self.kept is not None:
            rows = f"{len(self.kept)} of {'an unknown number of' if self.length is None else self.length} rows"
        elif self.length is None:
            rows = "some of the rows; which, and how many there were, is unknown"
        if self.permuted:
            rows += ", in an unknown order"
        return (
            "The adversary knows the weights and how inputs are encoded.",
            f"It sees activations of one forward pass: {rows}.",
            *([self.mechanism] if self.mechanism else []),
            *([f"It holds {self.examples} public pictures of the same kind."] if self.examples else []),
            _released(self),
        )


def _released(known: Knowledge | ActivationKnowledge) -> str:
    return (
        f"Released as {known.dtype}"
        + (f", Gaussian noise of {known.noise:g} of the norm" if known.noise else "")
        + (f", clipped to norm {known.clip:g}" if known.clip is not None else "")
        + (f", the smallest {known.prune:.0%} of the entries dropped" if known.prune else "")
        + "."
    )


ModelT = TypeVar("ModelT", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Activations(Generic[ModelT]):
    """Activations of one input's forward pass plus public knowledge; `ModelT` is the kind of public model.

    Args:
        tensors: what was seen, by site name: (n, d), one head's (n, d_h), or (H, n, n) for probabilities.
        sites: where it was seen.
        model: the public model.
        knowledge: what else the adversary knows.
    """

    tensors: Mapping[str, Tensor]
    sites: tuple[Site, ...]
    model: ModelT
    knowledge: ActivationKnowledge


@runtime_checkable
class Stated(Protocol):
    """Knowledge as the auditor reads it."""

    @property
    def exact(self) -> bool:
        """Whether a replay of the true input must reproduce the tensors to rounding."""

    def sentences(self) -> tuple[str, ...]:
        """Return the threat model in words, one sentence per fact."""


@runtime_checkable
class Seen(Protocol):
    """What every observation has in common: tensors, and a threat model that can be said in words."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """What was seen, by name."""

    @property
    def knowledge(self) -> Stated:
        """What else the adversary knows."""
