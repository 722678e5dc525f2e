"""The saved files of a text: the text and its state, side by side."""

from pathlib import Path

from charloom.errors import CharloomError
from charloom.files import write_atomic

STATE = ".state"
"""Added to the name of a text, it is that of its state."""


class DocumentError(CharloomError):
    """A file cannot be read or written."""


def named(typed: str) -> Path:
    """The path that was typed, ~ being the home folder.

    Raises:
        DocumentError: there is no such home.
    """
    try:
        return Path(typed).expanduser()
    except RuntimeError as error:
        raise DocumentError(f"{typed}: there is no such home; ./{typed} is a file of that name") from error


def state_path(text: Path) -> Path:
    """Where the state of a text is kept."""
    return text.with_name(text.name + STATE)


def load(path: Path) -> tuple[bytes, str]:
    """A state, and its text if that lies beside it.

    Raises:
        DocumentError: there is no such file, or what lies beside it is no text.
    """
    if not path.name:
        raise DocumentError(f"{path} names no file")
    text = path.with_suffix("")
    try:
        state = path.read_bytes()
        known = path.suffix == STATE and text.is_file()
        return state, text.read_bytes().decode("utf-8") if known else ""
    except OSError as error:
        raise DocumentError(f"cannot read {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise DocumentError(f"{text} is not UTF-8") from error


def store(path: Path, content: bytes) -> None:
    """Writes a file, which appears only once it is whole.

    Raises:
        DocumentError: it cannot be written.
    """
    if not path.name:
        raise DocumentError(f"{path} names no file")
    try:
        write_atomic(path, content)
    except OSError as error:
        raise DocumentError(f"cannot write {path}: {error.strerror}") from error
