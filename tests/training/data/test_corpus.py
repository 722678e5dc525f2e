import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom import text_file
from charloom.errors import CharloomError, ConfigError
from charloom.text_file import BinaryTextError, UnreadableTextError, read_text
from training.data import corpus
from training.data.corpus import CorpusConfig, read_corpus
from training.data.token_file import SaveError, release

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


@pytest.mark.parametrize(
    ("characters", "kind"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)]
)
def test_ids_have_the_smallest_type_that_holds_the_start_token(characters, kind, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(chr(0x10000 + i) for i in range(characters)))
    read = read_corpus(path, CorpusConfig())
    assert read.ids.dtype == kind
    assert read.ids.tolist() == list(range(characters))


WORDS = st.sampled_from(
    ["a", "\n", "\r\n", "\r", "\r\r\n", "\ufeff", "ж", "你", "🧵", "x" * 40, *"\x80\xe9\xf0\x9f\xff\0"]
)


def outcome(path):
    """What reading a file gives: its text and notes, or the error."""
    try:
        return read_text(path)
    except CharloomError as error:
        return type(error), str(error)


@given(words=st.lists(WORDS, max_size=60), piece=st.integers(64, 80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_in_pieces_is_the_text_as_a_whole(words, piece, tmp_path):
    path = tmp_path / "a.txt"
    # Single characters from \x80 on become bytes of their own, which are no UTF-8.
    path.write_bytes(b"".join(w.encode("latin-1" if w in "\x80\xe9\xf0\x9f\xff" else "utf-8") for w in words))
    whole = outcome(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "PIECE", piece)
        assert outcome(path) == whole
        if isinstance(whole[0], str):
            read = read_corpus(path, CorpusConfig())
            assert read.vocabulary.decode(read.ids) == whole[0]
            assert read.digest == corpus.hashlib.sha256(whole[0].encode()).hexdigest()
            assert read.notes == whole[1]


def test_a_nul_far_behind_a_malformed_byte_is_what_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "PIECE", 100)
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 50 + b"\xff" + b"b" * 500 + b"\0")
    with pytest.raises(BinaryTextError, match="at byte 551"):
        read_text(path)


@pytest.fixture
def kept(tmp_path):
    """A corpus whose ids are kept in a file, and a function that reads it again."""
    path = tmp_path / "a.txt"
    path.write_text(ALPHABETS * 30)
    return lambda: read_corpus(path, CorpusConfig(), tmp_path)


def test_ids_are_kept_in_a_file_and_not_made_again(kept, tmp_path, monkeypatch):
    first = kept()
    expected = first.vocabulary.encode(ALPHABETS * 30).tolist()
    assert first.ids.tolist() == expected
    again = kept()
    (tmp_path / "a.txt").unlink()
    assert again.ids.tolist() == expected
    assert len(list(tmp_path.iterdir())) == 1


def damage(file):
    file.write_bytes(file.read_bytes()[:500] + b"?" + file.read_bytes()[501:])


@pytest.mark.parametrize(
    "harm",
    [
        damage,
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b"?"),
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
    ],
)
def test_a_damaged_file_of_ids_is_made_again(harm, kept, tmp_path):
    expected = kept().ids.tolist()
    intact = (tmp_path / "tokens").read_bytes()
    harm(tmp_path / "tokens")
    assert kept().ids.tolist() == expected
    assert (tmp_path / "tokens").read_bytes() == intact


def test_ids_whose_memory_is_given_back_are_read_again(tmp_path):
    (tmp_path / "text").write_text("verse " * 50_000)
    made = read_corpus(tmp_path / "text", CorpusConfig(), tmp_path)
    before = made.ids.tolist()
    release(made.train)
    assert made.ids.tolist() == before
    alone = np.arange(3)
    release(alone)  # of no file
    assert alone.tolist() == [0, 1, 2]


def test_ids_of_another_text_are_made_again(kept, tmp_path):
    kept().ids  # noqa: B018
    (tmp_path / "a.txt").write_text(ALPHABETS[::-1] * 30)  # as long, of the same characters
    other = kept()
    assert other.vocabulary.decode(other.ids) == ALPHABETS[::-1] * 30


def test_a_text_that_changes_between_its_readings_is_refused(kept, tmp_path):
    read = kept()
    (tmp_path / "a.txt").write_text(ALPHABETS * 30 + "more")
    with pytest.raises(UnreadableTextError, match="changed"):
        read.ids  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abc" * 100)
    read = read_corpus(path, CorpusConfig(), tmp_path / "none")
    with pytest.raises(SaveError, match="none/tokens"):
        read.ids  # noqa: B018


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableTextError, match="pipe"):
        read_corpus(tmp_path / "pipe", CorpusConfig())


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
