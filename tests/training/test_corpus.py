import numpy as np
import pytest

from charloom.errors import ConfigError
from training.corpus import CorpusConfig, encode, read_corpus, read_text

ALPHABETS = "Привет, κόσμε! 你好世界\nשלום עולם 🧵🪡👩‍👩‍👧 e\u0301\n"  # noqa: RUF001


def test_parts_are_cut_in_order(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abcdefghij")
    corpus = read_corpus(path, CorpusConfig(0.6, 0.2))
    decode = corpus.vocabulary.decode
    assert [decode(p) for p in (corpus.train, corpus.validation, corpus.test)] == ["abcdef", "gh", "ij"]
    assert corpus.held_out == "gh"
    assert len(read_corpus(path, CorpusConfig(0.9, 0.1)).test) == 0


def test_several_alphabets_and_emoji(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes((ALPHABETS * 30).encode())
    corpus = read_corpus(path, CorpusConfig())
    assert corpus.vocabulary.decode(np.concatenate([corpus.train, corpus.validation])) == ALPHABETS * 30


def test_large_vocabularies_and_texts_are_encoded_whole(monkeypatch):
    from charloom.vocabulary import CharacterVocabulary

    monkeypatch.setattr("training.corpus.PIECE", 7)
    text = "".join(chr(0x4E00 + i) for i in range(600))
    vocabulary = CharacterVocabulary.of_text(text)
    assert vocabulary.decode(encode(vocabulary, text)) == text
    assert encode(CharacterVocabulary("ab"), "abba").dtype == np.uint8


def test_byte_order_mark_and_windows_line_ends_are_normalised(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n".encode())
    text, notes = read_text(path)
    assert text == "one\ntwo\n"
    assert "byte order mark" in notes[0]
    assert "2 line ends" in notes[1]
    path.write_bytes(b"one\r\ntwo\n")
    assert read_text(path)[1] == ("made 1 line end \\n that was \\r\\n",)


@pytest.mark.parametrize("fractions", [(0.0, 0.1), (1.0, 0.1), (0.9, 0.0), (0.95, 0.1), (0.5, 1.5)])
def test_impossible_divisions_are_refused(fractions):
    with pytest.raises(ConfigError, match="fraction"):
        CorpusConfig(*fractions)
