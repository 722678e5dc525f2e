"""Rows of tables as records: one column holds the text, others hold its labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from charloom.records.changes import RecordChanges
from charloom.records.config import RecordsConfig
from charloom.records.csv_file import comma_rows, tab_rows
from charloom.records.json_lines import json_rows
from charloom.records.parquet import parquet_rows
from charloom.records.record import Record, RecordError
from charloom.text_file import Changes, plain_ends

Rows = Callable[[Path, str, Sequence[str], Changes], Iterator[tuple[int, Sequence[object]]]]
"""Reads the values of columns in each row of a file of this name, with a number that finds the row in it."""

KINDS: Mapping[str, tuple[Rows, str]] = {
    ".csv": (comma_rows, "line"),
    ".tsv": (tab_rows, "line"),
    ".jsonl": (json_rows, "line"),
    ".ndjson": (json_rows, "line"),
    ".parquet": (parquet_rows, "row"),
}
"""What reads the rows of a table, by the suffix of its file, and what their numbers count."""


def is_table(path: Path) -> bool:
    """Whether a file is a table, by the end of its name."""
    return path.suffix.lower() in KINDS


def table_records(path: Path, name: str, config: RecordsConfig, changes: RecordChanges) -> Iterator[Record]:
    """The records of a table that have a text; a label that is null is the empty one.

    Raises:
        CharloomError: it cannot be read, lacks a column, or has something in one that is no text.
    """
    rows, unit = KINDS[path.suffix.lower()]
    columns = (config.text_column, *config.label_column)
    for number, values in rows(path, name, columns, changes):
        try:
            text, *labels = (as_text(value, changes) for value in values)
        except ValueError as error:
            raise RecordError(f"{name}, {unit} {number}: {error}") from error
        if text:
            yield Record(text, tuple(label or "" for label in labels))
        elif text is None:
            changes.null += 1
        else:
            changes.empty += 1


def as_text(value: object, changes: RecordChanges) -> str | None:
    """The text of a value: a number's digits, with plain line ends; None for null and for what is no number.

    Raises:
        ValueError: it is neither text nor a number, nor true or false.
    """
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("a text has half of a surrogate pair, which is no character")
        return plain_ends(value, changes)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return None if value != value else str(value)
    if value is not None:
        raise ValueError(f"where a text should be is a value of type {type(value).__name__}")
    return None
