"""Secret and recovered text side by side, masked so that a report can be passed on."""

from collections import Counter

BLOCK = "█"


def redact(secret: str, recovered: str, *, show: bool) -> tuple[str, str, tuple[bool, ...]]:
    """Return both texts, masked unless `show`, and for each recovered word whether the secret has it.

    A word is what stands between blanks. Masked, its first character stays and a block takes the place
    of each other one; a single letter or digit is masked whole, because the first one is all of it.
    Flags compare words without regard to case and surrounding punctuation, and count repetitions: a
    word recovered twice that the secret has once is flagged once, at its first place.

    Example:
        >>> redact("Call Ottoline at 5", "call ottoline now", show=False)
        ('C███ O███████ a█ █', 'c███ o███████ n██', (True, True, False))
    """
    left = Counter(_plain(word) for word in secret.split())
    flags = []
    for word in recovered.split():
        plain = _plain(word)
        flags.append(left[plain] > 0)
        left[plain] -= 1
    if show:
        return secret, recovered, tuple(flags)
    return _masked(secret), _masked(recovered), tuple(flags)


def _plain(word: str) -> str:
    """Return the word without case and surrounding punctuation; a word of punctuation stays itself."""
    begin, end = 0, len(word)
    while begin < end and not word[begin].isalnum():
        begin += 1
    while end > begin and not word[end - 1].isalnum():
        end -= 1
    return word[begin:end].casefold() or word


def _masked(text: str) -> str:
    return " ".join(_mask(word) for word in text.split())


def _mask(word: str) -> str:
    if len(word) == 1:
        return BLOCK if word.isalnum() else word
    return word[0] + BLOCK * (len(word) - 1)
