import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.vocabulary import (
    CharacterBuilder,
    CharacterVocabulary,
    LabelColumn,
    LabelError,
    SpecialTokens,
    VocabularyError,
    digest,
    id_type,
    read_vocabulary,
)

GENRE = LabelColumn("genre", ("folk", "jazz"))
YEAR = LabelColumn("year", ("1", "2", "3"))
ALL = SpecialTokens(end=True, unknown=True, labels=(GENRE, YEAR))


def test_special_tokens_follow_the_ordinary_ones():
    vocabulary = CharacterVocabulary("abc", ALL)
    assert (vocabulary.end, vocabulary.unknown, vocabulary.size, vocabulary.start) == (3, 4, 5, 5)
    assert vocabulary.inputs == 5 + 1 + 2 + 3
    assert vocabulary.ids.label_ids(["jazz", "1"]) == [7, 8]
    assert [vocabulary.token_text(i) for i in range(vocabulary.inputs)] == [
        *("a", "b", "c", "<end>", "<unknown>", "<start>"),
        *("<folk>", "<jazz>", "<1>", "<2>", "<3>"),
    ]


def test_a_vocabulary_without_any_is_as_it_was():
    vocabulary = CharacterVocabulary("abc")
    assert (vocabulary.size, vocabulary.start, vocabulary.inputs) == (3, 3, 4)
    assert vocabulary.end is vocabulary.unknown is None
    assert vocabulary.to_json() == {"kind": "character", "characters": ["a", "b", "c"]}


@pytest.mark.parametrize("special", [ALL, SpecialTokens(end=True), SpecialTokens(unknown=True)])
def test_json_and_back(special):
    vocabulary = CharacterVocabulary("ab", special)
    again = read_vocabulary(vocabulary.to_json())
    assert again == vocabulary
    assert again.ids == vocabulary.ids
    assert digest(again) == digest(vocabulary) != digest(CharacterVocabulary("ab"))
    assert vocabulary != CharacterVocabulary("ab")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("end", 1),
        ("labels", [{"name": "genre", "values": []}]),
        ("labels", [{"name": "genre", "values": ["a", "a"]}]),
        ("labels", [{"name": "g", "values": ["a"]}, {"name": "g", "values": ["b"]}]),
        ("more", True),
    ],
)
def test_malformed_special_tokens_are_refused(field, value):
    with pytest.raises(VocabularyError):
        read_vocabulary({"kind": "character", "characters": ["a"], field: value})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], r"2 labels \(genre: .*; year: '1', '2', '3'\), not 0"),
        (["folk", "4"], "year '4' is none that the model knows: '1', '2', '3'"),
    ],
)
def test_labels_that_a_model_lacks_are_named(labels, message):
    with pytest.raises(LabelError, match=message):
        CharacterVocabulary("a", ALL).ids.label_ids(labels)


@given(st.text("abcxyz", max_size=20), st.data())
def test_unknown_characters_become_the_unknown_token_however_they_are_encoded(text, data):
    vocabulary = CharacterVocabulary("abc", ALL)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == "".join(c if c in "abc" else "\ufffd" for c in text)
    cut = data.draw(st.integers(0, len(text)))
    encoder = vocabulary.encoder()
    pieces = [encoder.put(text[:cut]), encoder.put(text[cut:]), encoder.finish()]
    assert np.concatenate(pieces).tolist() == ids.tolist()
    assert {piece.dtype for piece in pieces} == {id_type(vocabulary)}
    assert vocabulary.decode(vocabulary.encode(text, skip_unknown=True)) == "".join(
        c for c in text if c in "abc"
    )


def test_the_end_of_a_record_has_no_text_but_a_place():
    vocabulary = CharacterVocabulary("abc", ALL)
    tokens = np.array([3, 0, 3, 3, 1, 4])
    assert vocabulary.decode(tokens) == "ab\ufffd"
    assert vocabulary.decoder().put(tokens) == ["", "a", "", "", "b", "\ufffd"]


def test_rare_characters_are_left_to_the_unknown_token():
    builder = CharacterBuilder(min_count=2)
    for piece in ("aab", "cbé", "漢漢"):
        builder.put(piece)
    vocabulary = builder.build(SpecialTokens(unknown=True))
    assert vocabulary.characters == ["a", "b", "漢"]
    assert vocabulary.encode("cé").tolist() == [vocabulary.unknown] * 2
