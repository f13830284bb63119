import json
import re
import sys
from collections import Counter

import pytest

from unmask.errors import BadInput, MissingExtra
from unmask.victims.corpora import Example, from_lines, from_parquet, private

KINDS = {"medical", "contact", "chat", "review"}


def test_private_corpus_has_every_kind_often_enough():
    kinds = Counter(example.kind for example in private())
    assert set(kinds) == KINDS
    assert min(kinds.values()) >= 14
    assert {example.kind for example in private()[:4]} == KINDS


def test_private_corpus_varies_in_length_and_label():
    examples = private()
    words = [len(example.text.split()) for example in examples]
    assert min(words) == 4
    assert 25 <= max(words) <= 30
    assert len({example.text for example in examples}) == len(examples)
    for kind in KINDS:
        assert {example.label for example in examples if example.kind == kind} == {0, 1}


def test_private_corpus_names_no_real_line_or_mail():
    text = "\n".join(example.text for example in private())
    phones = re.findall(r"\b\d{3}-\d{4}\b", text)
    assert phones
    assert all(re.fullmatch(r"555-01\d\d", phone) for phone in phones)
    assert all(mail.endswith(".example") for mail in re.findall(r"\S+@\S*\w", text))


def test_plain_text_has_one_sentence_a_line(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("\ufefffirst one \n\n  second, with café\n", encoding="utf-8")
    assert from_lines(path) == (
        Example(text="first one", label=0, kind="notes"),
        Example(text="second, with café", label=0, kind="notes"),
    )


def test_json_lines_take_label_and_kind(tmp_path):
    path = tmp_path / "rows.jsonl"
    # U+2028 parts lines for str.splitlines, but not in JSON.
    rows = [{"text": "one\u2028two", "label": 2}, {"sentence": "three", "kind": "mail"}]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert from_lines(str(path)) == (
        Example(text="one\u2028two", label=2, kind="rows"),
        Example(text="three", label=0, kind="mail"),
    )


def test_csv_takes_a_header(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('label,sentence\n1,"quoted, with\na break"\n0,plain\n', encoding="utf-8")
    assert [(e.text, e.label) for e in from_lines(path)] == [("quoted, with\na break", 1), ("plain", 0)]


@pytest.mark.parametrize(
    ("name", "content", "clause"),
    [
        ("a.doc", "x", "unknown suffix"),
        ("a.txt", "", "no sentence"),
        ("a.txt", "\n \n", "no sentence"),
        ("a.jsonl", "", "no sentence"),
        ("a.csv", "", "no sentence"),
        ("a.csv", "text\n", "no sentence"),
        ("a.csv", "words\nhello\n", "no header"),
        ("a.csv", "text,label\nhello, you,1\n", "more cells"),
        ("a.csv", "text,label\n,1\n", "no text in row 2"),
        ("a.csv", "text,label\nhello,positive\n", "label 'positive' in row 2"),
        ("a.jsonl", '{"text": "fine"}\n{"label": 1}', "no text in row 2"),
        ("a.jsonl", '{"text": 5}', "no text in row 1"),
        ("a.jsonl", '{"text": "x", "label": -1}', "label -1 in row 1"),
        ("a.jsonl", '{"text": "x", "label": true}', "label True in row 1"),
        ("a.jsonl", "{text}", "no JSON in line 1"),
        ("a.jsonl", "[1]", "no JSON object in line 1"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, name, content, clause):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=re.escape(clause)) as caught:
        from_lines(path, argument="--texts")
    assert caught.value.argument == "--texts"
    assert caught.value.value == str(path)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path):
    with pytest.raises(BadInput, match="is no file"):
        from_lines(tmp_path / "none.txt")
    with pytest.raises(BadInput, match="is no file"):
        from_lines(tmp_path)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        from_lines(tmp_path / "binary.txt")


def write_parquet(path, **columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("column", ["sentence", "text"])
def test_parquet_of_the_hub_is_drawn_in_a_seeded_order(tmp_path, column):
    texts = [f"sentence {i}" for i in range(50)]
    write_parquet(tmp_path / "cola" / "train.parquet", **{column: texts, "label": [i // 25 for i in range(50)]})
    every = from_parquet(tmp_path / "cola")
    assert sorted(example.text for example in every) == sorted(texts)
    assert [example.text for example in every] != texts
    assert {example.kind for example in every} == {"cola"}
    assert all(example.label == int(example.text.split()[1]) // 25 for example in every)
    few = from_parquet(tmp_path / "cola" / "train.parquet", limit=10, seed=0)
    assert few == every[:10]
    assert few != from_parquet(tmp_path / "cola", limit=10, seed=1)


def test_parquet_without_labels_is_running_text(tmp_path):
    write_parquet(tmp_path / "wiki.parquet", text=[" ", "= Title =", None, "A line."])
    assert {example.text for example in from_parquet(tmp_path / "wiki.parquet")} == {"= Title =", "A line."}


def test_bad_parquet_is_named_with_its_fault(tmp_path):
    with pytest.raises(BadInput, match=r"no \.parquet file"):
        from_parquet(tmp_path)
    with pytest.raises(BadInput, match="neither a file nor a folder"):
        from_parquet(tmp_path / "none.parquet")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match="unknown suffix"):
        from_parquet(tmp_path / "notes.txt")
    (tmp_path / "broken.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(BadInput, match="no readable parquet") as caught:
        from_parquet(tmp_path / "broken.parquet", argument="--texts")
    assert "\n" not in str(caught.value)
    write_parquet(tmp_path / "image.parquet", img=["x"], label=[0])
    with pytest.raises(BadInput, match="no column 'text' or 'sentence'"):
        from_parquet(tmp_path / "image.parquet")
    write_parquet(tmp_path / "gap.parquet", text=["a", None], label=[0, 1])
    with pytest.raises(BadInput, match="no text in row 2"):
        from_parquet(tmp_path / "gap.parquet")
    write_parquet(tmp_path / "hidden.parquet", text=["a"], label=[-1])
    with pytest.raises(BadInput, match="label -1"):
        from_parquet(tmp_path / "hidden.parquet")
    with pytest.raises(BadInput, match="limit 0 is not positive"):
        from_parquet(tmp_path / "gap.parquet", limit=0)


def test_missing_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'unmask[data]'")):
        from_parquet(tmp_path / "any.parquet")
