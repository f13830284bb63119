"""A model of texts as the subject of an audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.auditor.scoring import judge
from unmask.auditor.subject import Verdict
from unmask.public import PublicModel
from unmask.victim import Mechanism, Secret, Victim


@dataclass(frozen=True, kw_only=True, eq=False)
class TextSubject:
    """Implements `unmask.auditor.subject.Subject` for batches of sequences.

    Args:
        model: the public model.
        mechanism: what the victim computes.
        guess: frequent tokens, most frequent first, for the trivial guess.
    """

    model: PublicModel
    mechanism: Mechanism
    guess: tuple[int, ...] = field(default=())

    @property
    def name(self) -> str:
        """How reports call the model."""
        return self.model.name

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return self.model.parameters

    def weights(self) -> Mapping[str, Tensor]:
        """Return every parameter by name."""
        return self.mechanism.parameters()

    def victim(self, secret: Secret | None) -> Victim:
        """Return the party that holds this secret; None where only a trace of it is known."""
        return Victim(model=self.model, mechanism=self.mechanism, secret=secret)

    def content(self, secret: Secret) -> str:
        """Return the ids and labels of a secret as text."""
        return repr((secret.sequences, None if secret.labels is None else secret.labels.tolist()))

    def item(self, secret: Secret | None, guess: Reconstruction | None) -> dict[str, int]:
        """Return the numbers of sequences and of tokens of a secret, or of the guess where it is not known."""
        if secret is None:
            guessed = () if guess is None else guess.tokens
            return {"size": max(1, len(guessed)), "tokens": sum(map(len, guessed))}
        return {"size": secret.size, "tokens": sum(secret.lengths)}

    def alike(self, secret: Secret, other: Secret) -> bool:
        """Whether two secrets share a sequence."""
        return bool(set(secret.sequences) & set(other.sequences))

    def decoy(self, guess: Reconstruction, draw: torch.Generator) -> Secret:
        """Return random sequences of the guess's lengths."""
        vocabulary, lengths = self.model.vocabulary, [len(ids) for ids in guess.tokens]
        ordinary = torch.tensor([i for i in range(vocabulary.size) if i not in vocabulary.special])
        longest = max(lengths)
        ids = torch.full((len(lengths), longest), vocabulary.pad or 0)
        mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
        for row, length in enumerate(lengths):
            ids[row, :length] = ordinary[torch.randint(len(ordinary), (length,), generator=draw)]
            ids[row, : len(vocabulary.prefix)] = torch.tensor(vocabulary.prefix, dtype=torch.long)[:length]
        classes = self.model.classes
        labels = None if classes is None else torch.randint(classes, (len(lengths),), generator=draw)
        return Secret(ids=ids, mask=mask, labels=labels, texts=("",) * len(lengths))

    def judge(
        self, secret: Secret | None, guess: Reconstruction | None, *, others: Sequence[Secret], show: bool
    ) -> Verdict:
        """Score a guess against the secret, other secrets, and a guess of frequent tokens against the secret."""
        return judge(self.model, secret, guess, others=others, common=self.guess, show=show)
