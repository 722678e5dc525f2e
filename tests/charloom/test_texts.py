"""The files of a text: found by name, folder and pattern, and read as one text."""

import io
import sys
from pathlib import Path

import pytest

from charloom.text_file import Changes, UnreadableTextError
from charloom.texts import Texts, found_texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "a.txt": "first\n",
        "b.txt": "second",
        "deep/c.txt": "third",
        "deep/d.py": "print()\n",
        ".git/config": "hidden",
        "deep/.hidden": "hidden",
        "run/samples.txt": "of the run",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def found(folder: Path, *words: str) -> list[str]:
    """Names, below the folder, of the files that words name."""
    with found_texts([folder / word for word in words], folder / "run") as texts:
        return [str(path.relative_to(folder)) for path in texts.files]


def test_a_folder_has_all_its_files_but_those_hidden_and_those_of_the_run(folder: Path) -> None:
    assert found(folder, "") == ["a.txt", "b.txt", "deep/c.txt", "deep/d.py"]
    assert found(folder, ".git") == [".git/config"]


def test_patterns_and_names_come_in_the_order_given_and_each_file_once(folder: Path) -> None:
    assert found(folder, "deep/d.py", "*.txt", "a.txt") == ["deep/d.py", "a.txt", "b.txt"]
    assert found(folder, "**/*.txt") == ["a.txt", "b.txt", "deep/c.txt"]
    (folder / "[1].txt").write_text("a name that looks like a pattern")
    assert found(folder, "[1].txt") == ["[1].txt"]


@pytest.mark.parametrize(("word", "said"), [("*.csv", "no file matches"), ("empty", "no text in the folder")])
def test_where_there_is_nothing_it_is_said(folder: Path, word: str, said: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UnreadableTextError, match=said), found_texts([folder / word], folder / "run"):
        pass


def test_each_file_begins_on_a_new_line(folder: Path) -> None:
    (folder / "empty.txt").write_text("")
    texts = Texts(tuple(folder / name for name in ("b.txt", "empty.txt", "a.txt", "deep/c.txt")))
    assert "".join(texts.pieces(Changes())) == "second\nfirst\nthird"
    assert (texts.name, texts.title) == ("the text of 4 files", "4 files")


def test_standard_input_is_kept_until_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve".encode())))
    with found_texts([folder / "b.txt", Path("-")], folder / "run") as texts:
        for _ in range(2):
            assert "".join(texts.pieces(Changes())) == "second\nnaïve"
        assert texts.words[1] == "-"
    assert not texts.files[1].exists()
