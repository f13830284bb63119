"""Data sets with the hub's schemas, from folders that the test writes."""

import io
from pathlib import Path

import pytest
import torch

from unmask.errors import BadInput
from unmask.victims import datasets

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(file: Path, columns: dict[str, list[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


def picture(value: int, side: int = 4) -> dict[str, object]:
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 0)).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def test_cifar100_takes_fine_labels_and_shards_in_order(tmp_path: Path) -> None:
    for shard, values in enumerate(([10, 20], [30])):
        columns = {"img": [picture(v) for v in values], "fine_label": values, "coarse_label": [0] * len(values)}
        write(tmp_path / "cifar100" / f"train-0000{shard}-of-00002.parquet", columns)
    found = datasets.pictures("cifar100", "train", root=tmp_path)
    assert found.pixels.shape == (3, 3, 4, 4) and found.labels is not None
    torch.testing.assert_close(found.pixels[:, 0, 0, 0] * 255, found.labels.float())
    assert sorted(found.labels.tolist()) == [10, 20, 30]
    assert datasets.pictures("cifar100", "train", root=tmp_path, limit=1).size == 1


def test_tiny_imagenet_from_the_folder_itself(tmp_path: Path) -> None:
    write(tmp_path / "valid-00000-of-00001.parquet", {"image": [picture(1)], "label": [7]})
    found = datasets.pictures("tiny-imagenet", "valid", root=tmp_path)
    assert found.labels is not None and found.labels.tolist() == [7]


def test_glue_pairs_hidden_labels_and_splits_with_a_common_start(tmp_path: Path) -> None:
    for split, label in (("validation_matched", 2), ("test_matched", -1)):
        columns = {"premise": ["a b"], "hypothesis": [split], "label": [label], "idx": [0]}
        write(tmp_path / "mnli" / f"{split}-00000-of-00001.parquet", columns)
    (row,) = datasets.texts("glue-mnli", "validation_matched", root=tmp_path)
    assert row == datasets.Row(text="a b", pair="validation_matched", label=2.0)
    (hidden,) = datasets.texts("glue-mnli", "test_matched", root=tmp_path)
    assert hidden.label is None
    with pytest.raises(BadInput, match="has no validation-"):
        datasets.files("glue-mnli", "validation", root=tmp_path)


def test_wikitext_lines_without_the_empty_ones(tmp_path: Path) -> None:
    write(tmp_path / "wikitext-2-raw-v1" / "test-00000-of-00001.parquet", {"text": ["", " = A = \n", " b c \n", ""]})
    assert [row.text for row in datasets.texts("wikitext-2", "test", root=tmp_path)] == [" = A = \n", " b c \n"]


def test_unknown_names_wrong_kinds_and_missing_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "sst2" / "train-00000-of-00001.parquet", {"text": ["a"], "label": [0]})
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name, call, words in (
        ("imagenet", datasets.files, "is unknown"),
        ("glue-sst2", datasets.pictures, "holds texts"),
    ):
        with pytest.raises(BadInput, match=words):
            call(name, "train", root=tmp_path)
    with pytest.raises(BadInput, match="no column 'sentence'"):
        list(datasets.texts("glue-sst2", "train", root=tmp_path))
    with pytest.raises(BadInput, match="not in the hub's cache"):
        datasets.files("glue-rte", "train")
