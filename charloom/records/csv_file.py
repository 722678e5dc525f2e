"""Reads rows of tables whose fields commas or tabs divide (RFC 4180): a quoted one may hold line ends.

The module `csv` of the standard library does it. Its limit on the length of a field belongs to the whole
process: it is raised while rows are taken, and put back.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from charloom.records.columns import check_names
from charloom.records.record import RecordError
from charloom.text_file import Changes, numbered_lines, read_pieces

LONGEST = 2**31 - 1
"""Characters of a field, the most that a limit can be on every system."""

ROWS = 32
"""Rows taken at a time."""


def rows(
    path: Path, name: str, columns: Sequence[str], changes: Changes, dialect: str
) -> Iterator[tuple[int, list[str]]]:
    """The fields of some columns in each row, with the number of the line that the row begins in.

    Raises:
        CharloomError: the file cannot be read, its header lacks a column or has one twice, or a row has more
            or fewer fields than the header.
    """
    numbered = numbered_rows(read_pieces(path, changes, name), name, dialect)
    line, header = next(numbered, (1, []))
    places = find_columns([column.strip() for column in header], f"{name}, line {line}", columns)
    for line, row in numbered:
        if len(row) != len(header):
            raise RecordError(
                f"{name}, line {line}: {len(row)} fields, where the header has {len(header)}; "
                "a field with a delimiter or a line end in it stands in quotation marks"
            )
        yield line, [row[place] for place in places]


comma_rows = partial(rows, dialect="excel")
tab_rows = partial(rows, dialect="excel-tab")


def find_columns(header: list[str], place: str, columns: Sequence[str]) -> list[int]:
    """The places of columns in a header.

    Raises:
        RecordError: one is missing or there twice, or there is no header.
    """
    if not header:
        raise RecordError(f"{place}: there is no header, which names the columns")
    names = [column.strip() for column in columns]
    check_names(names, "column", header, f"{place}, the header")
    return [header.index(name) for name in names]


def numbered_rows(pieces: Iterable[str], name: str, dialect: str) -> Iterator[tuple[int, list[str]]]:
    """All rows that are not blank lines, each with the number of the line that it begins in.

    Raises:
        RecordError: quotation marks are not where they may be.
    """
    reader = csv.reader((f"{line}\n" for _, line in numbered_lines(pieces)), dialect, strict=True)
    line = 1
    while True:
        taken = []
        try:
            with fields_of_any_length():
                for row in islice(reader, ROWS):
                    taken.append((line, row))
                    line = reader.line_num + 1
        except csv.Error as error:
            raise RecordError(
                f"{name}, line {line}: {reason(error)}; in a field that begins with a quotation mark each "
                "further one is doubled, but for the last, which ends it"
            ) from error
        if not taken:
            return
        yield from ((number, row) for number, row in taken if row)


def reason(error: csv.Error) -> str:
    """What is wrong, in words of ours where those of the module are unclear."""
    if str(error) == "unexpected end of data":
        return "a quotation mark begins a field that never ends"
    return str(error)


@contextmanager
def fields_of_any_length() -> Iterator[None]:
    """Raises the limit on the length of a field until the end."""
    limit = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
