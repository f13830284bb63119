from pathlib import Path

import pytest

from tests.report.synthetic import record as synthetic
from unmask.errors import BadInput, StorageError
from unmask.record import Record, append, mend, read


def _file(tmp_path: Path) -> Path:
    file = tmp_path / "records.jsonl"
    for item in range(2):
        append(file, synthetic(0, "query", item))
    return file


def test_a_record_survives_json(tmp_path: Path) -> None:
    found = list(read(_file(tmp_path)))
    assert found == [synthetic(0, "query", 0), synthetic(0, "query", 1)]
    assert Record.from_json(found[0].to_json()) == found[0]


@pytest.mark.parametrize("tail", [b'{"half', "é".encode()[:1], b'{"key": "\xc3', b"\xff\xfe"])
def test_an_unfinished_last_line_is_passed_over_and_cut_off(tmp_path: Path, tail: bytes) -> None:
    file = _file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    assert len(list(read(file))) == 2
    mend(file)
    assert file.read_bytes() == whole
    append(file, synthetic(0, "query", 2))
    assert len(list(read(file))) == 3


def test_a_line_of_only_an_unfinished_write(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b'{"key"')
    assert list(read(file)) == []
    mend(file)
    assert file.read_bytes() == b""


def test_mending_what_is_whole_or_absent_changes_nothing(tmp_path: Path) -> None:
    mend(tmp_path / "absent")
    file = _file(tmp_path)
    before = file.read_bytes()
    mend(file)
    assert file.read_bytes() == before
    assert not (tmp_path / "absent").exists()


def test_damage_in_the_middle_is_bad_input(tmp_path: Path) -> None:
    file = _file(tmp_path)
    file.write_bytes(b"\xff\n" + file.read_bytes())
    with pytest.raises(BadInput, match="is no UTF-8"):
        list(read(file))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"certified"', '"proved"'),
        ('"schema": 1', '"schema": 9'),
        ('"key"', '"lock"'),
        ('"cell": {', '"cell": {"x": 1, '),
    ],
)
def test_a_line_that_is_no_record_is_bad_input(old: str, new: str) -> None:
    line = synthetic(0, "query", 0).to_json()
    assert old in line
    with pytest.raises(BadInput, match="record"):
        Record.from_json(line.replace(old, new))


@pytest.mark.parametrize("line", ["[]", "3", "null", '"text"', "{}"])
def test_json_of_another_kind_is_bad_input(line: str) -> None:
    with pytest.raises(BadInput, match="record"):
        Record.from_json(line)


def test_a_schema_of_the_future_keeps_its_own_message() -> None:
    line = synthetic(0, "query", 0).to_json().replace('"schema": 1', '"schema": 9')
    with pytest.raises(BadInput, match="unknown schema"):
        Record.from_json(line)


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        append(tmp_path / "records.jsonl", synthetic(0, "query", 0))
