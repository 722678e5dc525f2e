"""Keys, stop patterns, glyphs and saved files, each alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writing import document
from writing.glyphs import bar, harmless, visible
from writing.keys import KEYS, meaning
from writing.writer import LINE, SENTENCE, StopPattern, beyond


@pytest.mark.parametrize(
    ("name", "character", "means"),
    [
        ("a", "a", ("type", "a")),
        ("space", " ", ("type", " ")),
        ("full_stop", ".", ("type", ".")),
        ("enter", "\r", ("type", "\n")),
        ("1", "1", ("pick", "0")),
        ("0", "0", ("pick", "9")),
        ("alt+7", None, ("type", "7")),
        ("tab", "\t", ("go", "")),
        ("ctrl+z", "\x1a", ("undo", "")),
        ("backspace", "\x7f", ("erase", "")),
        ("escape", "\x1b", None),
        ("f5", None, None),
        ("alt+a", None, None),
    ],
)
def test_what_keys_mean(name: str, character: str | None, means: tuple[str, str] | None) -> None:
    assert meaning(name, character) == means


def test_no_key_means_two_things() -> None:
    names = [name for key in KEYS for name in key.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("pattern", "text", "excess"),
    [
        (LINE, "a line", None),
        (LINE, "a line\nand", 3),
        (LINE, "\n", 0),
        (SENTENCE, "A sentence.", None),
        (SENTENCE, "A sentence. An", 3),
        (SENTENCE, "pi is 3.14 or", None),
        (SENTENCE, 'He said "Go!" and', 4),
        (SENTENCE, "wrapped\nin lines", None),
        (SENTENCE, "Heading\n\nText", 5),
        (SENTENCE, " Next one? ", 1),
        (SENTENCE, "文です。次", 1),
        (None, "anything. \n", None),
    ],
)
def test_stop_patterns(pattern: StopPattern | None, text: str, excess: int | None) -> None:
    assert beyond(pattern, text) == excess


@pytest.mark.parametrize(
    ("token", "shown"),
    [("a", "a"), (" ", "␣"), ("\n", "↵"), ("\t", "⇥"), ("\x1b", "␛"), ("\u0301", "◌\u0301"),
     ("\xa0", "U+00A0"), ("\u200d", "U+200D"), ("🎉", "🎉"), ("[b]", "[b]")],
)  # fmt: skip
def test_every_character_can_be_seen(token: str, shown: str) -> None:
    assert visible(token) == shown


@given(st.text())
def test_no_text_can_tell_the_terminal_what_to_do(text: str) -> None:
    shown = harmless(text)
    assert not [c for c in shown if c != "\n" and (c < " " or "\x7f" <= c <= "\x9f")]
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize(("share", "shown"), [(0, "  "), (1, "██"), (0.5, "█ "), (0.25, "▌ "), (7, "██")])
def test_bars(share: float, shown: str) -> None:
    assert bar(share, 2) == shown


def test_a_state_is_loaded_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    document.store(document.state_path(path), b"state")
    assert document.load(tmp_path / "a.txt.state") == (b"state", "")
    document.store(path, "é\r\n".encode())
    assert document.load(tmp_path / "a.txt.state") == (b"state", "é\r\n")
    path.write_bytes(b"\xff")
    with pytest.raises(document.DocumentError, match=r"a\.txt is not UTF-8"):
        document.load(tmp_path / "a.txt.state")


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(document.DocumentError, match=r"cannot read .*nothing.*: No such file"):
        document.load(tmp_path / "nothing")
    for path in (tmp_path, tmp_path / "no" / "folder", Path()):
        with pytest.raises(document.DocumentError):
            document.store(path, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_names_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert document.named("~/a.txt") == tmp_path / "a.txt"
    assert document.named("a~.txt") == Path("a~.txt")
    with pytest.raises(document.DocumentError, match=r"~story\.txt: there is no such home"):
        document.named("~story.txt")
    with pytest.raises(document.DocumentError, match="names no file"):
        document.load(Path())
