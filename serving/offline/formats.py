"""The formats of an output: how a record is written, and what is before the first one."""

from abc import ABC, abstractmethod
from pathlib import Path

import msgspec

from charloom.errors import require

COLUMN = "text"
"""Name of the field or column of a record's text, which `charloom train --text-column text` reads."""


class RecordFormat(ABC):
    """Bytes of records, one after the other."""

    header = b""

    @abstractmethod
    def encode(self, text: str) -> bytes:
        """The bytes of a record."""

    def holds(self, text: str) -> bool:
        """Whether a record can be told from the next one."""
        return bool(text)


class PlainFormat(RecordFormat):
    """Records as they stand, each with a separator behind it."""

    def __init__(self, separator: str) -> None:
        self.separator = separator

    def encode(self, text: str) -> bytes:
        """See RecordFormat."""
        return (text + self.separator).encode()

    def holds(self, text: str) -> bool:
        """See RecordFormat; a separator may also begin at the end of the text and end in what follows it."""
        return (text + self.separator).find(self.separator) == len(text)


class ObjectFormat(RecordFormat):
    """JSON lines: an object a line. Parquet's parts are made of the same."""

    def encode(self, text: str) -> bytes:
        """See RecordFormat."""
        return msgspec.json.encode({COLUMN: text}) + b"\n"


class CsvFormat(RecordFormat):
    """One column with a header (RFC 4180, with the line ends of Unix)."""

    header = f"{COLUMN}\n".encode()

    def encode(self, text: str) -> bytes:
        """See RecordFormat."""
        if any(mark in text for mark in ',"\r\n') or text != text.strip():
            text = '"' + text.replace('"', '""') + '"'
        return text.encode() + b"\n"


SUFFIXES = (".jsonl", ".txt", ".csv", ".parquet")


def suffix_of(output: Path | None) -> str:
    """The suffix of an output, which names its format.

    Raises:
        ConfigError: there is no output, or it names none.
    """
    require(output is not None, "output", "is needed with --count")
    assert output is not None
    suffix = output.suffix.lower()
    reason = f"must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} with --count, not {output.name!r}"
    require(suffix in SUFFIXES, "output", reason)
    return suffix


def format_of(suffix: str, separator: str) -> RecordFormat:
    """The format of a suffix."""
    match suffix:
        case ".txt":
            return PlainFormat(separator)
        case ".csv":
            return CsvFormat()
        case _:
            return ObjectFormat()
