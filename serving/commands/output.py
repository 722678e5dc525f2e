"""Where a command's output goes: standard output, or a file that appears only once it is whole."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from charloom.errors import CharloomError


class OutputError(CharloomError):
    """The output cannot be written."""


@contextmanager
def destination(path: Path | None = None) -> Iterator[TextIO]:
    """Standard output, or the file at a path.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        if path is None:
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
            yield sys.stdout
            sys.stdout.flush()
        elif path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="") as file:  # a device, a pipe
                yield file
        else:
            with whole(path.resolve()) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path or 'standard output'}: {error.strerror}") from error


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """A file under another name until all of it is written."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def plain(text: str) -> str:
    """A text on one line of a terminal: what is no printable character is escaped, as Python writes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
