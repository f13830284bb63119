import pytest

from unmask.metrics.redact import redact

SECRET = "Call Ottoline Varga at 555-0142, room 5."


def test_masked_words_keep_their_first_character_and_length():
    secret, recovered, _ = redact(SECRET, "call ottoline", show=False)
    assert secret == "C███ O███████ V████ a█ 5████████ r███ 5█"
    assert recovered == "c███ o███████"


def test_single_letters_and_digits_are_masked_whole():
    assert redact("I am 5 !", "", show=False)[0] == "█ a█ █ !"


def test_show_leaves_the_texts_alone():
    assert redact(SECRET, "call  ottoline", show=True)[:2] == (SECRET, "call  ottoline")


@pytest.mark.parametrize("show", [True, False])
def test_flags_ignore_case_and_punctuation_and_count_repetitions(show):
    _, recovered, matches = redact(SECRET, "call CALL varga, 555-0142 room . now", show=show)
    assert matches == (True, False, True, True, True, False, False)
    assert len(recovered.split()) == len(matches)


def test_punctuation_matches_itself():
    assert redact("hello !", "! hello ?", show=True)[2] == (True, True, False)


def test_nothing_recovered():
    assert redact(SECRET, "", show=False)[1:] == ("", ())
