"""A sentence cut into runs of words that agree and words that do not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Neighbouring words of one kind.

    Args:
        text: the words.
        agrees: whether the other sentence has them; None where nobody can tell.
    """

    text: str
    agrees: bool | None


def recovered(text: str, matches: Sequence[bool]) -> tuple[Piece, ...]:
    """Cut a recovered sentence by the flags of its record; a word without a flag counts as wrong.

    Args:
        text: the sentence.
        matches: one flag per word.

    Example:
        >>> [(piece.text, piece.agrees) for piece in recovered("we met in rome", (True, True, True, False))]
        [('we met in', True), ('rome', False)]
    """
    words = text.split()
    flags = [*matches, *[False] * len(words)]
    return _pieces(list(zip(words, flags, strict=False)))


def secret(text: str, other: str, *, redacted: bool) -> tuple[Piece, ...]:
    """Cut a secret sentence into words that the recovered one has, each as often, and words it lacks.

    Case and punctuation at the ends of words do not count. Masked words cannot be compared.

    Args:
        text: the secret sentence.
        other: the recovered one.
        redacted: whether both are masked.

    Example:
        >>> [(piece.text, piece.agrees) for piece in secret("We met in Paris.", "we met in rome", redacted=False)]
        [('We met in', True), ('Paris.', False)]
    """
    if redacted:
        return (Piece(text=text, agrees=None),) if text else ()
    left = Counter(map(_bare, other.split()))
    flags = []
    for word in text.split():
        bare = _bare(word)
        flags.append((word, not bare or left[bare] > 0))
        left[bare] -= 1
    return _pieces(flags)


def _bare(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())


def _pieces(flags: Sequence[tuple[str, bool]]) -> tuple[Piece, ...]:
    runs = groupby(flags, key=lambda pair: bool(pair[1]))
    return tuple(Piece(text=" ".join(word for word, _ in run), agrees=agrees) for agrees, run in runs)
