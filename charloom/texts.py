"""The files that make up a text: by name, by a pattern, in a folder, or from standard input."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from charloom.text_file import (
    STANDARD_INPUT,
    STANDARD_INPUT_NAME,
    Changes,
    UnreadableTextError,
    read_pieces,
)

DASH = Path("-")
"""Standard input, where the parser of the command line has left it as it was."""


@dataclass(frozen=True)
class Texts:
    """Files that are read one after the other, as one text: each begins on a new line."""

    files: tuple[Path, ...]
    words: tuple[str, ...] = ()
    """The files as they were given on the command line."""
    spooled: Path | None = None
    """The file among them that holds standard input."""

    @property
    def name(self) -> str:
        """What they are called in messages."""
        return self.called(self.files[0]) if len(self.files) == 1 else f"the text of {len(self.files)} files"

    @property
    def title(self) -> str:
        """What they are called in a summary, which names no folder."""
        return self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"

    def called(self, file: Path) -> str:
        """What a single one is called in messages."""
        return STANDARD_INPUT_NAME if file == self.spooled else str(file)

    def pieces(self, changes: Changes) -> Iterator[str]:
        """The text, as pieces with something in them.

        Raises:
            CharloomError: a file cannot be read, or is not UTF-8 text.
        """
        end = "\n"
        for file in self.files:
            for number, piece in enumerate(read_pieces(file, changes, self.called(file))):
                if number == 0 and not end.endswith("\n"):
                    yield "\n"
                yield piece
                end = piece[-1]


@contextmanager
def found_texts(words: Sequence[Path], outside: Path) -> Iterator[Texts]:
    """Finds the texts that a command names; standard input lies in a temporary file until the end.

    Args:
        words: files, folders, patterns with `*`, `?` and `**`, and a dash for standard input.
        outside: the folder of the run, of which a folder or a pattern takes nothing.

    Raises:
        UnreadableTextError: a folder or a pattern has no file, or standard input is named twice.
    """
    with tempfile.TemporaryDirectory(prefix="charloom-") as spool:
        files: dict[str, Path] = {}  # by where they are: what is named in two ways is read once
        spooled = Path(spool) / STANDARD_INPUT_NAME
        for word in words:
            if word not in (DASH, STANDARD_INPUT):
                for file in find_files(word, outside):
                    files.setdefault(os.path.realpath(file), file)
            elif str(spooled) in files:
                raise UnreadableTextError(f"{STANDARD_INPUT_NAME} can be named once")
            else:
                with spooled.open("wb") as stream:
                    shutil.copyfileobj(sys.stdin.buffer, stream)
                files[str(spooled)] = spooled
        yield Texts(tuple(files.values()), tuple(map(str, words)), spooled)


def find_files(word: Path, outside: Path) -> list[Path]:
    """The file of this name, or all files of a folder or of a pattern, in order; none that is hidden.

    Raises:
        UnreadableTextError: a folder or a pattern has none.
    """
    if word.is_dir():
        found, none = list(word.rglob("*")), f"there is no text in the folder {word}"
    elif has_magic(str(word)) and not word.exists():
        matches = glob(str(word), recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern
        found, none = list(map(Path, matches)), f"no file matches {word}"
    else:
        return [word]
    files = sorted(path for path in found if path.is_file() and not hidden(path, word))
    own = outside.resolve()
    files = [path for path in files if not path.resolve().is_relative_to(own)]
    if not files:
        raise UnreadableTextError(none)
    return files


def hidden(path: Path, folder: Path) -> bool:
    """Whether a path has a part below a folder that begins with a dot, as `.git` does."""
    below = path.relative_to(folder) if path.is_relative_to(folder) else path
    return any(part.startswith(".") and part != ".." for part in below.parts)
