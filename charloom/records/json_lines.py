"""Reads rows of JSON lines, one object a line (https://jsonlines.org), by the names of their fields."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from charloom.records.columns import check_names
from charloom.records.record import RecordError
from charloom.text_file import Changes, numbered_lines, read_pieces


def json_rows(
    path: Path, name: str, columns: Sequence[str], changes: Changes
) -> Iterator[tuple[int, list[object]]]:
    """The values of some fields in each line, with its number; a number is what stands there, as text.

    Raises:
        CharloomError: the file cannot be read, or a line is no JSON object or lacks a field.
    """
    # NaN and the infinities, which Python writes, are no JSON: they are taken for null.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda _: None)
    for number, line in numbered_lines(read_pieces(path, changes, name)):
        if line.strip():
            found = read_object(decoder, line, f"{name}, line {number}")
            check_names(columns, "field", list(found), f"{name}, line {number}")
            yield number, [found[column] for column in columns]


def read_object(decoder: json.JSONDecoder, line: str, place: str) -> dict[str, object]:
    """The JSON object of a line.

    Raises:
        RecordError: it is something else.
    """
    try:
        found = decoder.decode(line)
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{place}: no JSON, {error.msg} at character {error.pos + 1}; each line must be an object"
        ) from error
    except RecursionError as error:
        raise RecordError(f"{place}: the JSON is nested too deeply") from error
    if not isinstance(found, dict):
        raise RecordError(f'{place}: the JSON is no object, such as {{"text": "..."}}')
    return found
