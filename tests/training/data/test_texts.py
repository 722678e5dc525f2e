"""Training on several files, patterns and standard input as one text."""

import io
import sys
from pathlib import Path

import pytest

from charloom.texts import Texts
from training.data.config import CorpusConfig
from training.data.read_corpus import read_corpus


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name, text in {"a.txt": "first\n", "b.txt": "second", "deep/c.txt": "third"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_corpus_is_the_text_of_all_files(folder: Path) -> None:
    corpus = read_corpus(
        Texts(tuple(folder / name for name in ("b.txt", "a.txt", "deep/c.txt"))), CorpusConfig()
    )
    assert corpus.vocabulary.decode(corpus.ids) == "second\nfirst\nthird"
    assert corpus.summary()["name"] == "3 files"


def test_a_run_on_many_files_goes_on_with_the_same_words(
    run_cli, small, folder: Path, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt", "deep/c.txt"):
        (folder / name).write_text(f"{name} says the same again and again\n" * 30)
    words = ("*.txt", "deep")
    assert run_cli("train", *words, "--out", "run", "--overwrite", *small())[0] == 0
    assert run_cli("train", *words, "--out", "run", "--resume", "--epochs", "3")[0] == 0
    code, said = run_cli("train", "*.txt", "--out", "run", "--resume")
    assert (code, "the text of 2 files is not the text" in said) == (14, True)
    assert run_cli("train", "--out", "other")[0] == 2


def test_a_dash_is_standard_input_wherever_it_stands(
    run_cli, small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "read from standard input\n" * 60
    for words in (
        ("train", "-", "--out", "one"),
        ("train", "--out", "two", "-"),
        ("train", "--out", "three", "--", "-"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        head, tail = (words[:-2], words[-2:]) if "--" in words else (words, ())
        assert run_cli(*head, *small(), *tail)[0] == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9")))
    code, said = run_cli("train", "-", "--out", "four", *small())
    assert (code, "error: standard input is not UTF-8" in said) == (6, True)
    code, said = run_cli("train", "-", "-", "--out", "four", *small())
    assert (code, "standard input can be named once" in said) == (3, True)


def test_a_pattern_may_begin_with_a_bracket(run_cli, small, folder: Path) -> None:
    (folder / "a.txt").write_text("the same again and again\n" * 60)
    assert run_cli("train", "[a]*.txt", "--out", "other", *small())[0] == 0
