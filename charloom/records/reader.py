"""Reads records from files in bounded memory: pieces of plain text, rows of tables."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from charloom.records.changes import RecordChanges
from charloom.records.config import RecordsConfig
from charloom.records.plain import delimited, lines, paragraphs
from charloom.records.record import Record, RecordError
from charloom.records.table import KINDS, is_table, table_records
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
    check_kinds(texts, config)
    changes.delimiter = config.delimiter
    read = table_records if config.tables else plain_records
    none = True
    for file in texts.files:
        for record in read(file, texts.called(file), config, changes):
            yield record
            none = False
    if none:
        raise EmptyTextError(f"{texts.name} has no records")


def check_kinds(texts: Texts, config: RecordsConfig) -> None:
    """Raises RecordError for a file that is no table where columns are read, or can be nothing but one."""
    for file in texts.files:
        name = texts.called(file)
        if config.tables and not is_table(file):
            raise RecordError(
                f"{name} is no table, from which text_column could be read: tables are {', '.join(KINDS)} "
                "files; name only such, for example by a pattern"
            )
        if not config.tables and file.suffix.lower() == ".parquet":
            raise RecordError(f"{name} is a table: text_column names the column to read")


def plain_records(path: Path, name: str, config: RecordsConfig, changes: RecordChanges) -> Iterator[Record]:
    """The records of a plain text that have a character."""
    for text in divided(read_pieces(path, changes, name, nul="\0" in config.delimiter), config, changes):
        if text:
            yield Record(text)
        else:
            changes.empty += 1


def divided(pieces: Iterable[str], config: RecordsConfig, changes: RecordChanges) -> Iterator[str]:
    """The parts of a plain text, empty ones too."""
    if config.records == "lines":
        return lines(pieces)
    if config.records == "paragraphs":
        return paragraphs(pieces)
    return delimited(pieces, config.delimiter, changes)
