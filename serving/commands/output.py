"""Where a command's output goes: standard output, or a file that appears only once it is whole."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from charloom.errors import CharloomError
from charloom.files import open_atomic


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
            with open_atomic(path.resolve()) as stream:
                text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
                yield text
                text.detach()  # writes what it still holds; `open_atomic` closes the file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path or 'standard output'}: {error.strerror}") from error
