import itertools
import random

import pytest

from unmask.errors import BadInput
from unmask.metrics.tokens import FUNCTION_WORDS, KEYS, rouge, score, token_recall, trivial_guess

WORDS = ["[PAD]", "[CLS]", "[SEP]", "john", "smith", "lives", "at", "home", "cat", "sat", "mat", ".", "!"]
SPECIAL = frozenset({0, 1, 2})


def decode(ids):
    return " ".join(WORDS[i] for i in ids)


def ids(text):
    return [1, *(WORDS.index(word) for word in text.split()), 2]


def scored(secret, guess, bag=()):
    return score([ids(s) for s in secret], [ids(g) for g in guess], decode, SPECIAL, bag)


def test_the_truth_scores_one_whatever_the_special_tokens():
    scores, assignment = score(
        [ids("john lives at home"), ids("cat sat")], [[8, 9, 0, 0], ids("john lives at home")], decode, SPECIAL
    )
    assert scores == dict.fromkeys(KEYS, 1.0)
    assert assignment == (1, 0)


def test_known_values_of_a_half_right_guess():
    scores, _ = scored(["john smith lives at home"], ["smith john lives at cat"])
    assert scores == pytest.approx(
        {"rouge1": 0.8, "rouge2": 0.25, "rougeL": 0.6, "token_recall": 0.8, "exact_match": 0.0}
    )


def test_repetitions_count():
    assert token_recall([3, 3, 4], [3, 5, 5]) == pytest.approx(1 / 3)
    assert token_recall([3, 4], [3, 3, 3]) == 0.5


def test_exact_match_sees_what_rouge_drops():
    scores, _ = scored(["cat sat ."], ["cat sat !"])
    assert scores["rouge1"] == 1.0
    assert scores["exact_match"] == 0.0
    assert scores["token_recall"] == pytest.approx(2 / 3)


def test_a_secret_without_a_guess_scores_zero():
    scores, assignment = scored(["cat sat", "john lives"], ["john lives"])
    assert assignment == (None, 0)
    assert scores == dict.fromkeys(KEYS, 0.5)
    assert scored(["cat sat"], []) == (dict.fromkeys(KEYS, 0.0), (None,))


def test_guessing_more_does_not_help():
    scores, assignment = scored(["cat sat"], ["john smith", "cat sat"])
    assert assignment == (0,)
    assert scores["rouge1"] == 0.0


def test_the_assignment_is_the_best_of_all():
    rng = random.Random(3)
    content = WORDS[3:11]
    for _ in range(10):
        secret = [" ".join(rng.choices(content, k=4)) for _ in range(4)]
        guess = [" ".join(rng.choices(content, k=4)) for _ in range(4)]
        _, assignment = scored(secret, guess)
        gain = [[rouge(s, g)["rouge1"] for g in guess] for s in secret]
        best = max(sum(gain[i][p[i]] for i in range(4)) for p in itertools.permutations(range(4)))
        assert sum(gain[i][j] for i, j in enumerate(assignment)) == pytest.approx(best)


def test_equal_rouge_is_parted_by_position():
    scores, assignment = scored(["cat sat mat", "mat sat cat"], ["mat sat cat", "cat sat mat"])
    assert assignment == (1, 0)
    assert scores["exact_match"] == 1.0


def test_a_bag_gives_token_recall_alone():
    scores, assignment = scored(["cat sat", "cat lives"], [], bag=[1, 8, 9, 2])
    assert scores == {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0, "token_recall": 0.5, "exact_match": 0.0}
    assert assignment == (None, None)
    assert scored(["cat sat"], [""], bag=[9, 8])[0]["token_recall"] == 1.0


def test_a_bag_counts_no_further_than_the_secret_is_long():
    assert scored(["cat sat"], [], bag=[3, 4, 8, 9])[0]["token_recall"] == 0.0


def test_sequences_go_before_the_bag():
    assert scored(["cat sat"], ["cat mat"], bag=[8, 9])[0]["token_recall"] == 0.5


@pytest.mark.parametrize("text", ["привет мир", "東京 都庁", "! ? ..."])
def test_text_that_the_published_tokenizer_empties_still_counts(text):
    assert rouge(text, text)["rouge1"] == 1.0
    assert rouge(text, "other words")["rouge1"] == 0.0


def test_a_secret_of_nothing_is_refused():
    with pytest.raises(BadInput, match="secret"):
        score([], [], decode, SPECIAL)
    with pytest.raises(BadInput, match="secret"):
        score([[1, 2]], [[3]], decode, SPECIAL)


def test_the_trivial_guess_knows_only_lengths():
    assert trivial_guess([0, 3], [5, 6]) == ((), (5, 6, 5))
    with pytest.raises(BadInput, match="common"):
        trivial_guess([1], [])
    assert len(set(FUNCTION_WORDS)) == len(FUNCTION_WORDS)
