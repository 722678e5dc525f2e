"""Records are read from files of any kind, and what cannot be read is named."""

from pathlib import Path
from typing import Any

import pytest

from charloom import text_file
from charloom.records import Record, RecordChanges, RecordsConfig, read_records
from charloom.text_file import BinaryTextError, EmptyTextError
from charloom.texts import Texts


def texts(folder: Path, **files: str | bytes) -> Texts:
    """Files of these contents, by name, with a double underscore for the dot."""
    paths = []
    for name, content in files.items():
        paths.append(folder / name.replace("__", "."))
        paths[-1].write_bytes(content.encode() if isinstance(content, str) else content)
    return Texts(tuple(paths))


def read(found: Texts, **options: Any) -> tuple[list[str], tuple[str, ...]]:
    """The texts of the records without labels, and the notes."""
    changes = RecordChanges()
    records = list(read_records(found, RecordsConfig(**options), changes))
    assert all(record.labels == () for record in records)
    return [record.text for record in records], changes.notes()


def test_lines_end_at_the_end_of_a_file_and_empty_ones_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "PIECE", 3)
    found = texts(tmp_path, a__txt="\ufefffirst\r\n\r\nsecond", b__txt="third\n", c__txt="")
    records, notes = read(found, records="lines")
    assert records == ["first", "second", "third"]
    assert notes == (
        "dropped the byte order mark at its beginning",
        "made 2 line ends \\n that were \\r\\n",
        "skipped 1 empty record",
    )
    assert read(found, records="paragraphs")[0] == ["first", "second", "third"]


def test_a_nul_may_be_a_delimiter_and_is_no_text_otherwise(tmp_path: Path) -> None:
    found = texts(tmp_path, a__txt="one thing\0two\nlines\n\0\0three\0")
    assert read(found, records=r"\0") == (["one thing", "two\nlines", "three"], ("skipped 1 empty record",))
    with pytest.raises(BinaryTextError, match="NUL byte at byte 9"):
        read(found, records="lines")


def test_a_delimiter_that_is_nowhere_is_told(tmp_path: Path) -> None:
    found = texts(tmp_path, a__txt="one\n", b__txt="two\n")
    (note,) = read(found, records="---")[1]
    assert note == "found the delimiter '---' nowhere: each file is one record"
    assert read(texts(tmp_path, a__txt="one\n---", b__txt="two"), records="---") == (["one", "two"], ())


@pytest.mark.parametrize("records", ["lines", "paragraphs", "---"])
def test_files_without_a_record_are_refused(tmp_path: Path, records: str) -> None:
    with pytest.raises(EmptyTextError, match=r"a.txt has no records"):
        read(texts(tmp_path, a__txt="\n"), records=records)


def test_a_record_is_a_text_with_labels() -> None:
    assert Record("a") == Record("a", ())
    assert Record("a", ("b",)) != Record("a")
