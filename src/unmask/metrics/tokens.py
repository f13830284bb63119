"""Scores of recovered token sequences against the secret ones, and the guess that saw nothing.

Read with care: the published ROUGE tokenizer keeps lower-case ASCII letters and digits only, so two
texts that differ in punctuation, case or accents can score 1. Exact match is about ids and cannot.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from rouge_score import rouge_scorer
from scipy.optimize import linear_sum_assignment

from unmask.errors import BadInput

KEYS = ("rouge1", "rouge2", "rougeL", "token_recall", "exact_match")

FUNCTION_WORDS = (
    "the of and to a in is it that was he for on with as his at be this had not are but from or have an they which "
    "one you were her all she there would their we him been has when who will more no if out so"
).split()
"""Frequent English words, most frequent first: what a guess that saw nothing is made of."""

_ASCII_WORD = re.compile(r"[a-zA-Z0-9]")


def score(
    secret: Sequence[Sequence[int]],
    guess: Sequence[Sequence[int]],
    decode: Callable[[Sequence[int]], str],
    special: frozenset[int],
    bag: Sequence[int] = (),
) -> tuple[dict[str, float], tuple[int | None, ...]]:
    """Return the mean scores over the secret's sequences, and which guess was matched to which.

    Guesses and secrets are matched one to one so that the sum of ROUGE-1 is largest; equal sums are
    parted by the share of positions with equal ids. Only the first `len(secret)` guesses take part,
    and of a bag as many tokens as the secret has: an attack cannot score by guessing more, it has to
    put its best first. A secret without a guess scores 0.

    Token recall is `sum_t min(secret count, guess count) / sum_t secret count` over ids without
    special ones: per sequence, or, where no guess has a token and there is a bag, for the batch.

    Args:
        secret: ids of the true sequences, special tokens allowed.
        guess: ids of the recovered sequences, special tokens allowed.
        decode: text of a sequence of ids that holds no special token.
        special: ids to drop before anything is compared.
        bag: ids known to occur in the batch, in no order of position, surest first.

    Returns:
        Values in [0, 1] under the names of `KEYS`, and for each secret the index of its guess or None.

    Raises:
        BadInput: if there is no secret, or one without a token that is not special.

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, F-measures without
    stemming, by the package rouge-score; matching as in Balunovic et al., "LAMP", 2022.
    """
    true = [_content(ids, special) for ids in secret]
    if not true or not all(true):
        raise BadInput("secret", [len(ids) for ids in true], "has a length of 0, special tokens left out", "drop it")
    found = [_content(ids, special) for ids in guess][: len(true)]
    true_texts, found_texts = [decode(ids) for ids in true], [decode(ids) for ids in found]
    assignment = _assign(true, found, true_texts, found_texts)
    rows = [
        dict.fromkeys(KEYS, 0.0) if j is None else _pair(true[i], found[j], true_texts[i], found_texts[j])
        for i, j in enumerate(assignment)
    ]
    scores = {key: sum(row[key] for row in rows) / len(rows) for key in KEYS}
    if not any(found):
        every = [token for ids in true for token in ids]
        scores["token_recall"] = token_recall(every, _content(bag, special)[: len(every)])
    return scores, assignment


def rouge(secret: str, recovered: str) -> dict[str, float]:
    """Return the F-measures ROUGE-1, ROUGE-2 and ROUGE-L of two texts.

    A secret without any ASCII letter or digit is compared by its blank-separated words instead, for
    the published tokenizer would leave nothing of it. A secret of one word has no ROUGE-2: it is 0.
    """
    scorer = _PUBLISHED if _ASCII_WORD.search(secret) else _BY_BLANKS
    return {name: float(value.fmeasure) for name, value in scorer.score(secret, recovered).items()}


def token_recall(secret: Sequence[int], recovered: Sequence[int]) -> float:
    """Return the share of the secret's tokens, counted with repetition, that were recovered."""
    return (Counter(secret) & Counter(recovered)).total() / len(secret)


def trivial_guess(lengths: Sequence[int], common: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return a guess that saw nothing but the lengths: frequent tokens, again from the start when used up.

    Args:
        lengths: for each sequence the number of tokens to guess, special ones not counted.
        common: frequent tokens, most frequent first, such as the ids of `FUNCTION_WORDS`.

    Raises:
        BadInput: if `common` is empty.

    Example:
        >>> trivial_guess([2, 4], [7, 8, 9])
        ((7, 8), (7, 8, 9, 7))
    """
    if not common:
        raise BadInput("common", list(common), "is empty", "give at least one token id")
    return tuple(tuple(common[i % len(common)] for i in range(length)) for length in lengths)


class _Blanks:
    """The tokenizer of texts for which the published one leaves nothing."""

    def tokenize(self, text: str) -> list[str]:
        return text.lower().split()


_NAMES = ["rouge1", "rouge2", "rougeL"]
_PUBLISHED = rouge_scorer.RougeScorer(_NAMES, use_stemmer=False)
_BY_BLANKS = rouge_scorer.RougeScorer(_NAMES, use_stemmer=False, tokenizer=_Blanks())
_PUBLISHED_1 = rouge_scorer.RougeScorer(["rouge1"], use_stemmer=False)
_BY_BLANKS_1 = rouge_scorer.RougeScorer(["rouge1"], use_stemmer=False, tokenizer=_Blanks())


def _content(ids: Sequence[int], special: frozenset[int]) -> tuple[int, ...]:
    return tuple(token for token in ids if token not in special)


def _pair(true: Sequence[int], found: Sequence[int], true_text: str, found_text: str) -> dict[str, float]:
    return {
        **rouge(true_text, found_text),
        "token_recall": token_recall(true, found),
        "exact_match": float(tuple(true) == tuple(found)),
    }


def _assign(
    true: Sequence[Sequence[int]], found: Sequence[Sequence[int]], true_texts: Sequence[str], found_texts: Sequence[str]
) -> tuple[int | None, ...]:
    if not found:
        return (None,) * len(true)
    gain = np.zeros((len(true), len(found)))
    for i, secret in enumerate(true_texts):
        scorer = _PUBLISHED_1 if _ASCII_WORD.search(secret) else _BY_BLANKS_1
        for j, recovered in enumerate(found_texts):
            equal = sum(a == b for a, b in zip(true[i], found[j], strict=False))
            # F-measures are fractions of small whole numbers, so 1e-9 is below any difference: it parts ties.
            gain[i, j] = scorer.score(secret, recovered)["rouge1"].fmeasure + 1e-9 * equal / len(true[i])
    rows, columns = linear_sum_assignment(gain, maximize=True)
    matched = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return tuple(matched.get(i) for i in range(len(true)))
