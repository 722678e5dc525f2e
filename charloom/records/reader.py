"""Reads records from files in bounded memory: pieces of plain text, rows of tables."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from charloom.records.changes import RecordChanges
from charloom.records.config import RecordsConfig
from charloom.records.plain import delimited, lines, paragraphs
from charloom.records.record import Record
from charloom.text_file import EmptyTextError, read_pieces
from charloom.texts import Texts


def read_records(texts: Texts, config: RecordsConfig, changes: RecordChanges) -> Iterator[Record]:
    """The records of files one after the other; the end of a file ends a record.

    Args:
        texts: the files.
        config: how to divide them, which it must.
        changes: counts what is changed and skipped; complete when all records are read.

    Raises:
        CharloomError: a file cannot be read, is not UTF-8 text, or has no such records.
    """
    assert config.divides
    changes.delimiter = config.delimiter
    none = True
    for file in texts.files:
        for text in plain_records(file, texts.called(file), config, changes):
            if text:
                yield Record(text)
                none = False
            else:
                changes.empty += 1
    if none:
        raise EmptyTextError(f"{texts.name} has no records")


def plain_records(path: Path, name: str, config: RecordsConfig, changes: RecordChanges) -> Iterable[str]:
    """The records of a plain text, empty ones too."""
    pieces = read_pieces(path, changes, name, nul="\0" in config.delimiter)
    divided = {"lines": lines, "paragraphs": paragraphs}.get(
        config.records, partial(delimited, delimiter=config.delimiter, changes=changes)
    )
    return divided(pieces)
