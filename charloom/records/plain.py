"""Divides a plain text that comes in pieces into lines, into paragraphs, or at a delimiter."""

from collections.abc import Iterable, Iterator

from charloom.records.changes import RecordChanges
from charloom.text_file import numbered_lines


def lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text, without their ends; empty ones too."""
    return (line for _, line in numbered_lines(pieces))


def paragraphs(pieces: Iterable[str]) -> Iterator[str]:
    """What stands between blank lines, line ends inside it included; a blank line may hold spaces, tabs."""
    begun: list[str] = []
    for line in lines(pieces):
        if line.strip(" \t"):
            begun.append(line)
        elif begun:
            yield "\n".join(begun)
            begun = []
    if begun:
        yield "\n".join(begun)


def delimited(pieces: Iterable[str], delimiter: str, changes: RecordChanges) -> Iterator[str]:
    """What stands between delimiters; empty texts too, but not before the first one and after the last.

    A line end right before a delimiter and one right after it belong to it, so that it may stand on a line of
    its own, or end one, or begin one. The end of the text counts as a delimiter.
    """
    held = ""
    for number, part in enumerate(split(pieces, delimiter)):
        changes.delimiters += number > 0
        if held or number > 1:
            yield held
        held = part.removesuffix("\n")
        if number:
            held = held.removeprefix("\n")
    if held:
        yield held


def split(pieces: Iterable[str], delimiter: str) -> Iterator[str]:
    """What `str.split` makes of the whole text, part by part; each character is looked at once."""
    begun: list[str] = []  # of the part that goes on
    tail = ""  # its end, which may be the beginning of a delimiter
    for piece in pieces:
        *ended, rest = (tail + piece).split(delimiter)
        for part in ended:
            yield "".join((*begun, part))
            begun = []
        kept = max(0, len(rest) - len(delimiter) + 1)
        begun.append(rest[:kept])
        tail = rest[kept:]
    yield "".join((*begun, tail))
