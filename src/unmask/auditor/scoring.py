"""A guess against the secret, against other secrets, and a guess that saw nothing against the secret."""

from collections.abc import Sequence
from statistics import fmean

from unmask.attack import Reconstruction
from unmask.auditor.subject import Verdict
from unmask.metrics import tokens
from unmask.metrics.redact import redact
from unmask.public import PublicModel
from unmask.record import Texts
from unmask.victim import Secret


def judge(
    model: PublicModel,
    secret: Secret | None,
    guess: Reconstruction | None,
    *,
    others: Sequence[Secret],
    common: Sequence[int],
    show: bool,
) -> Verdict:
    """Score a guess; without a secret only its text is kept.

    Args:
        model: decodes ids.
        secret: the truth, or None if it is not known.
        guess: what came out, or None if nothing did.
        others: secrets of other items, for the null control.
        common: frequent tokens for the trivial guess.
        show: whether texts stay unmasked.
    """
    sequences = () if guess is None else guess.tokens
    if secret is None:
        recovered = [model.decode(ids) for ids in sequences]
        shown = [redact("", text, show=show)[1] for text in recovered]
        flags = tuple((False,) * len(text.split()) for text in shown)
        return Verdict(texts=Texts(secret=("",) * len(shown), recovered=tuple(shown), matches=flags, redacted=not show))
    special = model.vocabulary.special
    bag = () if guess is None else guess.bag
    scores, assignment = tokens.score(secret.sequences, sequences, model.decode, special, bag)
    # Decoded like the guess, not as it was written: an encoder's tokenizer drops case and blanks, and the
    # two must look alike where their ids are alike.
    pairs = [
        redact(model.decode(ids), "" if j is None else model.decode(sequences[j]), show=show)
        for ids, j in zip(secret.sequences, assignment, strict=True)
    ]
    null = [tokens.score(other.sequences, sequences, model.decode, special, bag)[0] for other in others]
    lengths = [sum(token not in special for token in ids) for ids in secret.sequences]
    trivial: dict[str, float] = {}
    if common:
        blind = tokens.trivial_guess(lengths, common)
        trivial, _ = tokens.score(secret.sequences, blind, model.decode, special)
    return Verdict(
        texts=Texts(
            secret=tuple(pair[0] for pair in pairs),
            recovered=tuple(pair[1] for pair in pairs),
            matches=tuple(pair[2] for pair in pairs),
            redacted=not show,
        ),
        scores=scores,
        null={key: fmean(row[key] for row in null) for key in scores} if null else {},
        trivial=trivial,
    )
