import pytest
import torch

from tests.tiny import loaded
from unmask.errors import BadInput
from unmask.victims.corpora import Example
from unmask.victims.secrets import secrets

WHO = loaded("bert")


def _example(text: str, label: int = 0) -> Example:
    return Example(text=text, label=label, kind="test")


def test_short_sentences_are_filled_at_the_end() -> None:
    texts = ["john lives at oak street", "call me"]
    (found,) = secrets([_example(text) for text in texts], WHO.model, WHO.encode, batch=2)
    assert found.lengths == (7, 4)
    assert found.sequences == tuple(WHO.encode(text) for text in texts)
    assert bool((found.ids[~found.mask] == 0).all())
    assert found.texts == tuple(texts)
    assert torch.equal(found.labels, torch.tensor([0, 0]))


def test_the_last_batch_may_be_smaller() -> None:
    found = secrets([_example("call me")] * 5, WHO.model, WHO.encode, batch=2)
    assert [secret.size for secret in found] == [2, 2, 1]


def test_a_language_model_has_no_labels() -> None:
    who = loaded("gpt2")
    (found,) = secrets([_example("call me", 7)], who.model, who.encode, batch=1)
    assert found.labels is None


@pytest.mark.parametrize(
    ("text", "label", "words"),
    [
        ("", 0, "is an empty sentence"),
        ("   ", 0, "is an empty sentence"),
        ("xyzzy", 0, "is an empty sentence"),
        ("call me " * 30, 0, "has 62 tokens where tiny-bert takes 40"),
        ("call me", 2, "has the label 2 where tiny-bert has 2 classes"),
    ],
)
def test_a_sentence_that_cannot_be_used_is_named_by_its_index(text: str, label: int, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        secrets([_example("call me"), _example(text, label)], WHO.model, WHO.encode, batch=1, argument="--texts")
    assert str(caught.value).startswith("--texts[1] ")


def test_errors_do_not_repeat_the_private_text() -> None:
    with pytest.raises(BadInput) as caught:
        secrets([_example("call john " * 30)], WHO.model, WHO.encode, batch=1)
    assert "john" not in str(caught.value)


def test_ids_of_another_tokenizer() -> None:
    with pytest.raises(BadInput, match="token id 5000"):
        secrets([_example("call me")], WHO.model, lambda text: [2, 5000, 3], batch=1)


def test_no_sentences_and_no_batch() -> None:
    with pytest.raises(BadInput, match="holds no sentence"):
        secrets([], WHO.model, WHO.encode, batch=1)
    with pytest.raises(BadInput, match="--batch 0"):
        secrets([_example("call me")], WHO.model, WHO.encode, batch=0)


def test_one_token_has_no_next_one() -> None:
    who = loaded("gpt2")
    with pytest.raises(BadInput, match="no next token"):
        secrets([_example("call")], who.model, who.encode, batch=1)
