import hashlib
import math
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom import text_file
from charloom.errors import ConfigError
from charloom.text_file import UnreadableTextError
from charloom.vocabulary import CharacterBuilder, vocabulary_builder
from tests.charloom.vocabulary.byte_pairs import BytePairBuilder
from tests.charloom.vocabulary.kinds import CONFIGS, KEEPING, TEXT
from training.data.beginnings import line_beginnings
from training.data.config import CorpusConfig
from training.data.corpus import PART_NAMES
from training.data.read_corpus import read_corpus
from training.data.token_file import SaveError, release

ALPHABETS = "Привет, κόσμε! 你好世界\nשלום עולם 🧵🪡👩‍👩‍👧 e\u0301\n"  # noqa: RUF001


def test_parts_are_cut_in_order(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abcdefghij")
    corpus = read_corpus(path, CorpusConfig(0.6, 0.2))
    decode = corpus.vocabulary.decode
    assert [decode(corpus.part(p)) for p in PART_NAMES] == ["abcdef", "gh", "ij"]
    assert decode(corpus.beginning("validation", 9)) == "gh"
    assert decode(corpus.beginning("train", 3)) == "abc"
    assert len(read_corpus(path, CorpusConfig(0.9, 0.1)).part("test")) == 0


def test_several_alphabets_and_emoji(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes((ALPHABETS * 30).encode())
    corpus = read_corpus(path, CorpusConfig())
    assert (
        corpus.vocabulary.decode(np.concatenate([corpus.part("train"), corpus.part("validation")]))
        == ALPHABETS * 30
    )


@pytest.mark.parametrize(
    ("characters", "kind"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)]
)
def test_ids_have_the_smallest_type_that_holds_the_start_token(characters, kind, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(chr(0x10000 + i) for i in range(characters)))
    read = read_corpus(path, CorpusConfig())
    assert read.ids.dtype == kind
    assert read.ids.tolist() == list(range(characters))


@given(text=st.text(min_size=1, max_size=60) | st.text("é你 the🚀\n", min_size=1), piece=st.integers(64, 80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("builder", [CharacterBuilder, BytePairBuilder])
def test_parts_are_encoded_each_by_itself_whatever_a_token_is(builder, text, piece, tmp_path):
    path, text = tmp_path / "a.txt", text.replace("\0", "").replace("\r", "").lstrip("\ufeff") + "é"
    path.write_bytes((text * 9).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "PIECE", piece)
        read = read_corpus(path, CorpusConfig(0.5, 0.25), builder=builder())
        decoded = [read.vocabulary.decode(read.part(part)) for part in PART_NAMES]
    assert "".join(decoded) == text * 9
    assert [len(part) for part in decoded] == list(read.characters)
    assert [len(read.part(part)) for part in PART_NAMES] == list(read.parts)
    assert read.part("train").tolist() == read.vocabulary.encode(decoded[0]).tolist()
    assert read.digest == hashlib.sha256((text * 9).encode()).hexdigest()


def test_bits_a_character_count_the_characters_of_the_part(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("the the 你" * 10)
    read = read_corpus(path, CorpusConfig(0.5, 0.5), builder=BytePairBuilder())
    bits = read.bits_per_character(math.log(2), "validation")
    assert bits == pytest.approx(read.parts[1] / read.characters[1])
    assert math.isnan(read.bits_per_character(1.0, "test"))
    assert read.summary()["train"] == read.characters[0]
    assert read.summary()["tokens"] == {"train": read.parts[0], "validation": read.parts[1], "test": 0}


@pytest.fixture
def kept(tmp_path):
    """A corpus whose ids are kept in a file, and a function that reads it again."""
    path = tmp_path / "a.txt"
    path.write_text(ALPHABETS * 30)
    return lambda builder=CharacterBuilder: read_corpus(path, CorpusConfig(), tmp_path, builder())


def test_ids_are_kept_in_a_file_and_not_made_again(kept, tmp_path, monkeypatch):
    first = kept()
    expected = first.vocabulary.encode(ALPHABETS * 30).tolist()
    assert first.ids.tolist() == expected
    again = kept()
    (tmp_path / "a.txt").unlink()
    assert again.ids.tolist() == expected
    assert len(list(tmp_path.iterdir())) == 1


def test_ids_of_another_vocabulary_are_made_again(kept):
    first, other = kept(), kept(BytePairBuilder)
    assert first.ids.tolist() != other.ids.tolist()
    assert other.vocabulary.decode(other.part("train")) == first.vocabulary.decode(first.part("train"))
    assert kept(BytePairBuilder).ids.tolist() == other.ids.tolist()


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
    release(made.part("train"))
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


@pytest.mark.parametrize("fractions", [(0.0, 0.1), (1.0, 0.1), (0.9, 0.0), (0.95, 0.1), (0.5, 1.5)])
def test_impossible_divisions_are_refused(fractions):
    with pytest.raises(ConfigError, match="fraction"):
        CorpusConfig(*fractions)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tabs\tand\nlines", []),
        ("bell \x07", ["has the control characters U+0007, which the model learns to write"]),
        (
            "\x93so\x94",
            [
                "has the control characters U+0093, U+0094, which the model learns to write; "
                "was it cp1252 that was converted as latin1?"
            ],
        ),
    ],
)
def test_control_characters_are_named(text, said, tmp_path):
    (tmp_path / "a.txt").write_text(text, "utf-8")
    assert list(read_corpus(tmp_path / "a.txt", CorpusConfig()).notes) == said


@pytest.mark.parametrize("kind", CONFIGS)
def test_lines_begin_behind_newlines_whatever_tokens_are(kind, tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT, encoding="utf-8")
    read = read_corpus(path, CorpusConfig(0.5, 0.5), builder=vocabulary_builder(CONFIGS[kind]))
    vocabulary, ids = read.vocabulary, read.part("train")
    newline = vocabulary.find("\n")
    assert newline is not None
    lines = [line for line in TEXT[: read.characters[0]].split("\n") if line]
    places = line_beginnings(ids, newline).tolist()
    begun = [vocabulary.decode(ids[place:]).split("\n")[0] for place in places]
    assert begun == [vocabulary.decode(vocabulary.encode(line)) for line in lines]


@pytest.mark.parametrize("kind", CONFIGS)
def test_both_parts_of_a_text_are_encoded_wherever_it_is_divided(kind, tmp_path):
    path = tmp_path / "text"
    text = TEXT.replace("\n", " ")
    path.write_text(text, encoding="utf-8")
    for share in range(1, 20):
        read = read_corpus(
            path, CorpusConfig(share / 20, 1 - share / 20), builder=vocabulary_builder(CONFIGS[kind])
        )
        assert len(read.ids) == sum(read.parts)
        if kind in KEEPING and read.vocabulary.unknown is None:
            assert read.vocabulary.decode(read.part("train")) == text[: read.characters[0]]


def test_control_characters_are_noted_where_tokens_are_texts(tmp_path):
    path = tmp_path / "text"
    path.write_text("a\x07b c\n" * 3, encoding="utf-8")
    for kind, config in CONFIGS.items():
        notes = read_corpus(path, CorpusConfig(), builder=vocabulary_builder(config)).notes
        assert any("U+0007" in note for note in notes) == (kind not in ("bpe", "bytes"))
